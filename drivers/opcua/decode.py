"""What a server said → Scans. Pure: no session, no socket.

In: DataValues of a Read, or a whole PublishResult. Out: Scans with wire values of each tag's kind, the server's own
StatusCodes and times. A value of another type than the tag's kind is BadTypeMismatch, never a silent cast (F22).

=============  ===================================================================
kind           taken
=============  ===================================================================
float          Float (as its shortest text), Double, and integers that a double holds exactly
int            SByte … UInt64 (enumerations are Int32) that an int64 holds
bool           Boolean
text           String (null: empty), LocalizedText (its text), DateTime (ISO 8601 UTC), Guid
=============  ===================================================================

A null variant and every array are BadTypeMismatch, NaN and ±Inf are BadSensorFailure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from struct import error as StructError  # noqa: N812
from typing import Any, TypeVar

from drivers.opcua.library import struct_from_binary, ua
from gateway.core.errors import ProtocolError
from gateway.core.model import Device, Kind, Scan, TimeSource, Value
from gateway.core.quality import GOOD, Status
from gateway.core.text import shortest_float32

BAD = 0x8000_0000
OVERFLOW = 0x0000_0480  # InfoType DataValue with the overflow bit: the queue of the server ran over (Part 4, 7.39.1)

SANE_PAST_NS = 30 * 86_400 * 10**9  # older source times than this are a clock that was reset
SANE_FUTURE_NS = 5 * 60 * 10**9

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXACT = 2**53  # up to here every integer is a double
INT64 = range(-(2**63), 2**63)

_MISMATCH = object()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slot:
    """What a client handle stands for: one tag."""

    device: int  # position in the link's devices
    index: int  # position in device.tags


def response(kind: type[T], data: object) -> T:
    """The message in ``data``; raises ProtocolError where the bytes make no such message."""
    try:
        answer: T = struct_from_binary(kind, data)
    except (ua.UaError, StructError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as e:
        raise ProtocolError(f"an answer that is not OPC UA: {kind.__name__} cannot be decoded ({e})") from e
    return answer


# -------------------------------------------------------------------------------------------------------- scans


def notification_scans(
    devices: Sequence[Device], slots: Sequence[Slot], items: Iterable[Any], received_ns: int
) -> tuple[list[Scan], int]:
    """The Scans of one data-change notification, and how many values came with the overflow bit.

    One Scan per device; a tag that is in the notification n times makes n of them, in the order it was sampled.
    ``items``: MonitoredItemNotifications, whose client handle is a position in ``slots``.
    """
    rounds: dict[tuple[int, int], tuple[list[int], list[Any]]] = {}  # (which time, device) → (index, data)
    times_seen: dict[int, int] = {}
    overflows = 0
    for item in items:
        handle = item.ClientHandle
        if not 0 <= handle < len(slots):
            raise ProtocolError(f"the server notifies item {handle}, which nobody asked for")
        slot, data = slots[handle], item.Value
        turn = times_seen.get(handle, 0)
        times_seen[handle] = turn + 1
        columns = rounds.get((turn, slot.device))
        if columns is None:
            columns = rounds[turn, slot.device] = ([], [])
        columns[0].append(slot.index)
        columns[1].append(data)
        if data.StatusCode is not None and data.StatusCode.value & OVERFLOW == OVERFLOW:
            overflows += 1
    scans = [
        scan_of(devices[device], tuple(index), data, received_ns)
        for (_, device), (index, data) in sorted(rounds.items(), key=lambda entry: entry[0])
    ]
    return scans, overflows


def scan_of(device: Device, index: tuple[int, ...], data: Sequence[Any], received_ns: int) -> Scan:
    """One Scan of the tags at ``index`` (n,) from their DataValues (n,)."""
    tags = device.tags
    values: list[Value] = []
    status: list[int] = []
    floats: list[int] = []  # positions of float32 values
    for position, item in enumerate(data):
        code = GOOD if item.StatusCode is None else item.StatusCode.value
        value: Any = None
        if code < BAD:
            kind, variant = tags[index[position]].kind, item.Value
            convert = _CONVERT.get((kind, variant.VariantType))
            value = _MISMATCH if convert is None or variant.is_array else convert(variant.Value)
            if value is _MISMATCH:
                value, code = None, Status.BAD_TYPE_MISMATCH
            elif kind is Kind.FLOAT:
                if not isfinite(value):
                    value, code = None, Status.BAD_SENSOR_FAILURE
                elif variant.VariantType is ua.VariantType.Float:
                    floats.append(position)
        values.append(value)
        status.append(int(code))
    if floats:
        for position, short in zip(floats, shortest_float32([values[i] for i in floats]), strict=True):  # type: ignore[misc]
            values[position] = short
    times, source = _times(data, status, received_ns)
    time_ns = max(times, default=received_ns)
    return Scan(
        device=device,
        index=index,
        values=tuple(values),
        status=tuple(status) if any(status) else None,
        time_ns=time_ns,
        received_ns=received_ns,
        times_ns=None if times.count(time_ns) == len(times) else tuple(times),
        time_source=source,
    )


def bad_scan(device: Device, failed: dict[int, int], time_ns: int) -> Scan:
    """A Scan that says of tags of the device why they will bring no value: index → StatusCode."""
    index = tuple(sorted(failed))
    return Scan(device, index, (None,) * len(index), tuple(failed[i] for i in index), time_ns, time_ns)


# ------------------------------------------------------------------------------------------------------- values


def _float(value: float | None) -> Any:
    return _MISMATCH if value is None else value


def _exact_float(value: int | None) -> Any:
    return float(value) if value is not None and -EXACT <= value <= EXACT else _MISMATCH


def _int(value: int | None) -> Any:
    return value if value is not None and value in INT64 else _MISMATCH


def _same(value: object) -> Any:
    return _MISMATCH if value is None else value


def _string(value: str | None) -> Any:
    return "" if value is None else value


def _localized(value: Any) -> Any:
    return _MISMATCH if value is None else value.Text or ""


def _instant(value: datetime | None) -> Any:
    return _MISMATCH if value is None else value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _guid(value: object) -> Any:
    return _MISMATCH if value is None else str(value)


_INTEGERS = (
    ua.VariantType.SByte,
    ua.VariantType.Byte,
    ua.VariantType.Int16,
    ua.VariantType.UInt16,
    ua.VariantType.Int32,
    ua.VariantType.UInt32,
    ua.VariantType.Int64,
    ua.VariantType.UInt64,
)

_CONVERT: dict[tuple[Kind, Any], Callable[[Any], Any]] = {
    (Kind.FLOAT, ua.VariantType.Float): _float,
    (Kind.FLOAT, ua.VariantType.Double): _float,
    **{(Kind.FLOAT, kind): _exact_float for kind in _INTEGERS},
    **{(Kind.INT, kind): _int for kind in _INTEGERS},
    (Kind.BOOL, ua.VariantType.Boolean): _same,
    (Kind.TEXT, ua.VariantType.String): _string,
    (Kind.TEXT, ua.VariantType.LocalizedText): _localized,
    (Kind.TEXT, ua.VariantType.DateTime): _instant,
    (Kind.TEXT, ua.VariantType.Guid): _guid,
}
"""What each kind of tag takes; anything else is BadTypeMismatch."""


# -------------------------------------------------------------------------------------------------------- times


def _times(data: Sequence[Any], status: Sequence[int], received_ns: int) -> tuple[list[int], TimeSource]:
    """When each value was true (n,), and the least trustworthy of those who said so (of the values that are usable).

    The source's time where it is sane, else the server's, else ours: PLCs do wake up in the year 2000.
    """
    oldest, newest = received_ns - SANE_PAST_NS, received_ns + SANE_FUTURE_NS
    times: list[int] = []
    said_by = [False, False, False]  # device, server, gateway
    last: datetime | None = None
    last_ns = 0
    for item, code in zip(data, status, strict=True):
        who = 0
        for stamp in (item.SourceTimestamp, item.ServerTimestamp):
            if stamp is not None:
                if stamp != last:  # most values of a notification share one
                    last, last_ns = stamp, _ns(stamp)
                if oldest <= last_ns <= newest:
                    times.append(last_ns)
                    break
            who += 1
        else:
            times.append(received_ns)
        if code < BAD:
            said_by[who] = True
    if said_by[2] or not any(said_by):
        return times, TimeSource.GATEWAY
    return times, TimeSource.SERVER if said_by[1] else TimeSource.DEVICE


def _ns(stamp: datetime) -> int:
    delta = stamp - EPOCH
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1000
