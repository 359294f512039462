"""JSON as this API gives it: no NaN, and integers that JavaScript cannot hold as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from gateway.core.model import Tag, Value
from gateway.core.quality import quality

SAFE_INTEGER = 2**53  # up to here a double, the only number JavaScript has, is exact


def answer(content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``content`` as JSON. Values of tags go through :func:`plain` first."""
    return Response(
        orjson.dumps(content),  # turns NaN and infinities, which nobody should have let in, into null
        status_code=status,
        headers={"content-type": "application/json", "cache-control": "no-store", **(headers or {})},
    )


def plain(value: Value) -> Value:
    """The value as JSON can carry it.

    >>> plain(2**53 + 1), plain(-7), plain(True), plain(80.4)
    ('9007199254740993', -7, True, 80.4)
    """
    if type(value) is int and not -SAFE_INTEGER <= value <= SAFE_INTEGER:
        return str(value)
    return value


def reading(tag: Tag, value: Value, status: int, time_ns: int) -> dict[str, Any]:
    """What is known of one tag."""
    return {
        "tag": tag.name,
        "value": plain(value),
        "unit": tag.unit,
        "quality": quality(status),
        "status": status,
        "time": milliseconds(time_ns),
    }


def milliseconds(time_ns: int) -> int | None:
    """Milliseconds since 1970-01-01 UTC; None for never."""
    return time_ns // 1_000_000 if time_ns else None


def age_s(time_ns: int, now_ns: int) -> float | None:
    """How long ago, in seconds, never negative (clocks differ); None for never."""
    return round(max(0, now_ns - time_ns) / 1e9, 3) if time_ns else None
