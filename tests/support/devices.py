"""Devices for tests, in one line each."""

from __future__ import annotations

from typing import Any

from gateway.core.model import Batch, Device, Group, Kind, Scan, Tag, Value, groups
from gateway.normalise import Normaliser

NOW_NS = 1_767_225_600_000_000_000


def tag(name: str = "temperature", kind: Kind = Kind.FLOAT, **more: Any) -> Tag:
    """A tag without a protocol."""
    return Tag(name, kind, None, **more)


def device(*tags: Tag, id: str = "jacket", **more: Any) -> Device:  # noqa: A002
    """A device on wuxi/pl1; one float tag where none is given."""
    return Device("wuxi", "pl1", id, tags or (tag(),), **more)


def scan(of: Device, *values: Value, time_ns: int = NOW_NS, **more: Any) -> Scan:
    """A scan of all tags of a device."""
    return Scan(of, tuple(range(len(of.tags))), values, more.pop("status", None), time_ns, time_ns, **more)


def batch(of: Device, *values: Value, **more: Any) -> Batch:
    """A batch of all tags of a device, normalised."""
    result = Normaliser(of, "0123abcd")(scan(of, *values, **more))
    assert result is not None
    return result


def whole(of: Device) -> Group:
    """The group of a device whose tags share one period."""
    [group] = groups(of)
    return group
