"""Diagnostic logs: what the program says about itself, never the data.

Text for a terminal, JSON lines for programs (``log.format``). Modules log with ``logging.getLogger(__name__)``; what
belongs to the event goes into ``extra={…}`` and comes out as fields. Once when something breaks, once when it is back.

Three promises: what a device says cannot forge or colour a line (control characters are escaped); known secrets and
passwords in addresses never come out; a library that complains each second is cut to a few lines a minute.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson

Format = Literal["text", "json"]

LIBRARIES = ("asyncua", "pymodbus", "paho", "uvicorn", "influxdb_client", "urllib3", "asyncio", "amqtt")
"""Loggers that are not ours: kept at WARNING and cut short."""

BURST = 5  # lines of one library and level that pass …
WINDOW_S = 60.0  # … in this time

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
# C0, DEL, C1, line and paragraph separators, and what turns the direction of writing: all could fake a line
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_PASSWORD_IN_URL = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")
_LONGEST = 4_000  # characters of one field: a device may say megabytes


def configure(
    level: str = "info",
    format: Format = "text",  # noqa: A002
    *,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Set up the logs of the whole process. ``secrets``: texts that must never come out. May be called again."""
    redact = Redactor(secrets)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(redact) if format == "json" else TextFormatter(redact))
    handler.addFilter(LibraryFilter())
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, (JsonFormatter, TextFormatter)):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.setLevel(max(logging.WARNING, root.level))
        logger.propagate = True
    logging.captureWarnings(True)


def escaped(text: str) -> str:
    r"""The text on one line, with everything that could disturb it made visible.

    >>> escaped("level\n2026 ERROR all is lost\x1b[31m")
    'level\\n2026 ERROR all is lost\\x1b[31m'
    """
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}… ({len(text)} characters)"
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


class Redactor:
    """Takes known secrets out of a text.

    >>> Redactor(["hunter22"])("login with hunter22 at mqtt://me:pw@broker")
    'login with *** at mqtt://me:***@broker'
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        # very short ones would blank out ordinary words, and tell themselves by doing so
        known = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self._known:
            text = self._known.sub("***", text)
        return _PASSWORD_IN_URL.sub(r"\1:***@", text) if "://" in text else text


class TextFormatter(logging.Formatter):
    """``2026-11-22T08:00:00.123Z INFO  gateway.app: message  link=bus state=online``."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """One line; an exception adds its traceback, indented."""
        extra = "".join(f" {key}={_shown(value)}" for key, value in _fields(record).items())
        message = escaped(self._redact(record.getMessage()))
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {message}"
        if extra:
            line += f" {escaped(self._redact(extra))}"
        if trace := _trace(self, record):
            line += "".join(f"\n    {escaped(self._redact(each))}" for each in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, the fields of ``extra``, exception."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, Any] = {key: self._plain(value) for key, value in _fields(record).items()}
        line |= {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._plain(record.getMessage()),
        }
        if trace := _trace(self, record):
            line["exception"] = self._redact("\n".join(map(escaped, trace.splitlines())))
        first = ("time", "level", "logger", "message")
        ordered = {key: line[key] for key in first} | {key: value for key, value in line.items() if key not in first}
        return orjson.dumps(ordered).decode()

    def _plain(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return value if -(2**53) <= value <= 2**53 else str(value)
        return escaped(self._redact(str(value)))


@dataclass(slots=True)
class _Window:
    """What one library said at one level lately."""

    since_s: float
    passed: int = 0
    held: int = 0


class LibraryFilter(logging.Filter):
    """Lets through ``BURST`` lines per library and level in ``WINDOW_S``; the next line says how many were held."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic_s = monotonic_s
        self._windows: dict[tuple[str, int], _Window] = {}  # at most one per library and level

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        library = record.name.partition(".")[0]
        if library not in LIBRARIES:
            return True
        now = self._monotonic_s()
        window = self._windows.setdefault((library, record.levelno), _Window(now))
        held = 0
        if now - window.since_s >= WINDOW_S:
            held, window.since_s, window.passed, window.held = window.held, now, 0, 0
        if window.passed >= BURST:
            window.held += 1
            return False
        window.passed += 1
        if held:
            record.msg, record.args = f"{record.getMessage()} (and {held} more lines of {library} were held)", ()
        return True


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _shown(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if " " in text else text


def _time(record: logging.LogRecord) -> str:
    # from the integer of ms, not from the float: no rounding up into the next second
    moment = datetime.fromtimestamp(int(record.created), UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z"


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""
