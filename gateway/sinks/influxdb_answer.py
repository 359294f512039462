"""What an answer to a write means: pure.

In: status, headers and body of an HTTP answer. Out: what to do with the points that were sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, auto

import orjson

from gateway.core.errors import SinkUnavailable

MOST_RETRY_AFTER_S = 600.0
"""However long the other side asks us to stay away, we look again after this."""

_DROPPED = re.compile(r"\bdropped=(\d+)")


class Action(Enum):
    """What to do next."""

    STORED = auto()
    LATER = auto()  # keep everything; ``error`` says why
    SMALLER = auto()  # the request is too large
    BISECT = auto()  # some of it is refused for good; ``reason`` says why


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one request."""

    action: Action
    reason: str = ""
    error: SinkUnavailable | None = None
    partial: bool = False  # what is not refused is stored
    dropped: int | None = None  # how many points are refused, where it says so
    lines: tuple[int, ...] = ()  # which lines are refused, from 0, where it says so


def judge(status: int, headers: Mapping[str, str], body: str, where: str, target: str, now_ns: int) -> Verdict:
    """``where``: the server, ``target``: bucket and org, both for people."""
    says = _message(body)
    match status:
        case 204:
            return Verdict(Action.STORED)
        case 400 | 422 if not _is_page(headers, body):
            reason = f"refused by {where}: {says or f'HTTP {status}'}"
            dropped = _DROPPED.search(says)
            return Verdict(
                Action.BISECT,
                reason,
                partial="partial write" in says,
                dropped=int(dropped[1]) if dropped else None,
                lines=_line_numbers(body),
            )
        case 401 | 403:
            text = f"{where} refuses the token ({status} {says}): it needs the right to write to {target}"
            return _later(text, slow=True)
        case 404:
            return _later(f"{where} has no {target} (404 {says}): create it or mend the configuration", slow=True)
        case 413:
            return Verdict(Action.SMALLER, f"{where} takes no request of this size (413 {says})")
        case 429 | 503:
            wait_s = retry_after_s(headers, now_ns)
            return _later(f"{where} asks us to wait ({status} {says})", retry_after_s=wait_s)
        case _ if 200 <= status < 300:
            return _later(
                f"{where} answers {status} where an InfluxDB answers 204: a captive portal, or another server?"
            )
        case _:
            return _later(f"{where} answers {status} {says}", retry_after_s=retry_after_s(headers, now_ns))


def _later(text: str, *, slow: bool = False, retry_after_s: float | None = None) -> Verdict:
    return Verdict(Action.LATER, error=SinkUnavailable(text, slow=slow, retry_after_s=retry_after_s))


def retry_after_s(headers: Mapping[str, str], now_ns: int) -> float | None:
    """Seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3: seconds or a date), at most ten minutes; None where
    it is absent or nonsense. A date is measured against the server's own clock where it tells it.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(MOST_RETRY_AFTER_S, float(text[:9]))
    then = _date_s(text)
    if then is None:
        return None
    now = _date_s(headers.get("Date", ""))
    return max(0.0, min(MOST_RETRY_AFTER_S, then - (now_ns / 1e9 if now is None else now)))


def _date_s(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _message(body: str) -> str:
    """What the server says, one line, at most 300 characters: InfluxDB 1 ``error``, 2 ``message``, 3 both."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = body
    if isinstance(parsed, dict):
        parsed = next((parsed[key] for key in ("message", "error") if isinstance(parsed.get(key), str)), body)
    text = " ".join(str(parsed).split())
    return text if len(text) <= 300 else text[:299] + "…"


def _line_numbers(body: str) -> tuple[int, ...]:
    """InfluxDB 3 names the refused lines: ``{"error": …, "data": [{"line_number": 2, …}]}``."""
    try:
        rows = orjson.loads(body)["data"]
        return tuple(int(row["line_number"]) - 1 for row in rows)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return ()


def _is_page(headers: Mapping[str, str], body: str) -> bool:
    """A proxy's error page; a database says what is wrong in JSON or plain text."""
    return "html" in headers.get("Content-Type", "").lower() or body.lstrip()[:1] == "<"
