"""What a server said → Scans. Pure: no session, no socket.

In: the Columns of a Read or of a notification. Out: Scans with wire values of each tag's kind, the server's own
StatusCodes and times. A value of another type than the tag's kind is BadTypeMismatch, never a silent cast (F22).

=============  ===================================================================
kind           taken
=============  ===================================================================
float          Float (as its shortest text), Double, and integers that a double holds exactly
int            SByte … UInt64 (enumerations are Int32) that an int64 holds
bool           Boolean
text           String (null: empty), LocalizedText (its text), DateTime (ISO 8601 UTC), Guid
=============  ===================================================================

A null variant and an array of which no element is asked for are BadTypeMismatch, NaN and ±Inf are BadSensorFailure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

from drivers.opcua.library import ua
from drivers.opcua.nodes import Path
from drivers.opcua.structures import STRUCTURE, Definitions, walk
from drivers.opcua.wire import ARRAY, MATRIX, Columns
from gateway.core.errors import ProtocolError
from gateway.core.model import Device, Kind, Scan, TimeSource, Value
from gateway.core.quality import Status
from gateway.core.text import shortest_float32

BAD = 0x8000_0000
OVERFLOW = 0x0000_0480  # InfoType DataValue with the overflow bit: the queue of the server ran over (Part 4, 7.39.1)

SANE_PAST_NS = 30 * 86_400 * 10**9  # older source times than this are a clock that was reset
SANE_FUTURE_NS = 5 * 60 * 10**9

BAD_INDEX_RANGE_NO_DATA: int = ua.StatusCodes.BadIndexRangeNoData

EPOCH_US = 11_644_473_600 * 10**6  # 1970 in microseconds since 1601, where the time of OPC UA begins
EXACT = 2**53  # up to here every integer is a double
INT64 = range(-(2**63), 2**63)

_MISMATCH = object()


@dataclass(frozen=True, slots=True)
class Part:
    """An element of an array, a field of a structure, or a field of an element."""

    element: int | None = None
    path: Path = ()
    definitions: Definitions = field(default_factory=dict, compare=False)  # of the server's structures


@dataclass(frozen=True, slots=True)
class Slot:
    """What a client handle stands for: one tag."""

    device: int  # position in the link's devices
    index: int  # position in device.tags
    part: Part | None = None  # what of the value the tag is, where it is not all of it


# -------------------------------------------------------------------------------------------------------- scans


def notification_scans(
    devices: Sequence[Device], slots: Sequence[Slot], items: Columns, received_ns: int
) -> tuple[list[Scan], int]:
    """The Scans of one data-change notification, and how many values came with the overflow bit.

    One Scan per device; a tag that is in the notification n times makes n of them, in the order it was sampled.
    The client handles of ``items`` are positions in ``slots``.
    """
    handles = items.handles
    if handles and max(handles) >= len(slots):
        raise ProtocolError(f"the server notifies item {max(handles)}, which nobody asked for")
    overflows = 0
    if any(items.status):
        overflows = sum(code & OVERFLOW == OVERFLOW for code in items.status)
    found = [slots[handle] for handle in handles]
    pick(items, {position: slot.part for position, slot in enumerate(found) if slot.part is not None})
    device = found[0].device if found else 0
    if len(set(handles)) == len(handles) and all(slot.device == device for slot in found):  # nearly always
        if not found:
            return [], 0
        return [scan_of(devices[device], tuple([slot.index for slot in found]), items, received_ns)], overflows
    rounds: dict[tuple[int, int], list[int]] = {}  # (which time, device) → positions
    times_seen: dict[int, int] = {}
    for position, (handle, slot) in enumerate(zip(handles, found, strict=True)):
        turn = times_seen.get(handle, 0)
        times_seen[handle] = turn + 1
        rounds.setdefault((turn, slot.device), []).append(position)
    scans = [
        scan_of(devices[device], tuple([found[i].index for i in positions]), items.take(positions), received_ns)
        for (_, device), positions in sorted(rounds.items(), key=lambda entry: entry[0])
    ]
    return scans, overflows


def pick(data: Columns, parts: Mapping[int, Part]) -> None:
    """Put a part in the place of its value, at the positions in ``data`` that are keys of ``parts``.

    An array that is too short has BadIndexRangeNoData; what has no such part becomes none of the types that are taken.
    """
    for position, part in parts.items():
        if data.status[position] >= BAD:
            continue
        if part.element is not None:
            _pick_element(data, position, part.element)
        if part.path and data.status[position] < BAD:
            found = None
            if data.types[position] == STRUCTURE:
                found = walk(data.values[position], part.path, part.definitions)
            data.types[position], data.values[position] = found or (MATRIX, None)


def _pick_element(data: Columns, position: int, element: int) -> None:
    kind, value = data.types[position], data.values[position]
    if not kind & ARRAY or kind & MATRIX or value is None:
        data.types[position] = MATRIX
    elif element >= len(value):
        data.status[position] = BAD_INDEX_RANGE_NO_DATA
    else:
        data.types[position], data.values[position] = kind & ~ARRAY, value[element]


def scan_of(device: Device, index: tuple[int, ...], data: Columns, received_ns: int) -> Scan:
    """One Scan of the tags at ``index`` (n,) from their DataValues (n,)."""
    tags = device.tags
    kinds = [tags[i].kind for i in index]
    values, status = _plain(kinds, data) or _each(kinds, data)
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


def _plain(kinds: Sequence[Kind], data: Columns) -> tuple[Sequence[Value], Sequence[int]] | None:
    """The common case in a few calls: all good, of one kind and one type; None where it is not."""
    if any(data.status) or len(set(kinds)) != 1 or len(set(data.types)) != 1:
        return None
    taken = kinds[0], data.types[0]
    if taken in _AS_IT_IS or (taken == (Kind.FLOAT, DOUBLE) and isfinite(sum(data.values))):
        return data.values, data.status
    if taken == (Kind.FLOAT, FLOAT):
        short = shortest_float32(data.values)
        if None not in short:
            return short, data.status
    return None


def _each(kinds: Sequence[Kind], data: Columns) -> tuple[Sequence[Value], Sequence[int]]:
    values: list[Value] = []
    status: list[int] = []
    floats: list[int] = []  # positions of float32 values
    for position, (kind, type_, raw, code) in enumerate(zip(kinds, data.types, data.values, data.status, strict=True)):
        value: Any = None
        if code < BAD:
            convert = _CONVERT.get((kind, type_))
            value = _MISMATCH if convert is None else convert(raw)
            if value is _MISMATCH:
                value, code = None, Status.BAD_TYPE_MISMATCH
            elif kind is Kind.FLOAT:
                if not isfinite(value):
                    value, code = None, Status.BAD_SENSOR_FAILURE
                elif type_ == FLOAT:
                    floats.append(position)
        values.append(value)
        status.append(int(code))
    if floats:
        for position, short in zip(floats, shortest_float32([values[i] for i in floats]), strict=True):  # type: ignore[misc]
            values[position] = short
    return values, status


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


_INTEGERS = tuple(
    getattr(ua.VariantType, name).value
    for name in ("SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64")
)
BOOLEAN, FLOAT, DOUBLE = ua.VariantType.Boolean.value, ua.VariantType.Float.value, ua.VariantType.Double.value

_CONVERT: dict[tuple[Kind, int], Callable[[Any], Any]] = {
    (Kind.FLOAT, FLOAT): _float,
    (Kind.FLOAT, DOUBLE): _float,
    **{(Kind.FLOAT, kind): _exact_float for kind in _INTEGERS},
    **{(Kind.INT, kind): _int for kind in _INTEGERS},
    (Kind.BOOL, BOOLEAN): _same,
    (Kind.TEXT, ua.VariantType.String.value): _string,
    (Kind.TEXT, ua.VariantType.LocalizedText.value): _localized,
    (Kind.TEXT, ua.VariantType.DateTime.value): _instant,
    (Kind.TEXT, ua.VariantType.Guid.value): _guid,
}
"""What each kind of tag takes; anything else is BadTypeMismatch."""

_AS_IT_IS = {(Kind.BOOL, BOOLEAN), *((Kind.INT, kind) for kind in _INTEGERS if kind != ua.VariantType.UInt64.value)}
"""What needs no look at the values."""


# -------------------------------------------------------------------------------------------------------- times


def _times(data: Columns, status: Sequence[int], received_ns: int) -> tuple[list[int], TimeSource]:
    """When each value was true (n,), and the least trustworthy of those who said so (of the values that are usable).

    The source's time where it is sane, else the server's, else ours: PLCs do wake up in the year 2000.
    """
    oldest, newest = _ticks(received_ns - SANE_PAST_NS), _ticks(received_ns + SANE_FUTURE_NS)
    source, server = data.source, data.server
    if source and oldest < min(source) and max(source) < newest and min(status) < BAD:
        first = source[0]
        if source.count(first) == len(source):
            return [_ns(first)] * len(source), TimeSource.DEVICE
        return [(stamp // 10 - EPOCH_US) * 1000 for stamp in source], TimeSource.DEVICE
    earliest, latest = received_ns - SANE_PAST_NS, received_ns + SANE_FUTURE_NS
    times: list[int] = []
    said_by = [False, False, False]  # device, server, gateway
    for from_source, from_server, code in zip(source, server, status, strict=True):
        if earliest <= (time_ns := _ns(from_source)) <= latest:
            who = 0
        elif earliest <= (time_ns := _ns(from_server)) <= latest:
            who = 1
        else:
            who, time_ns = 2, received_ns
        times.append(time_ns)
        if code < BAD:
            said_by[who] = True
    if said_by[2] or not any(said_by):
        return times, TimeSource.GATEWAY
    return times, TimeSource.SERVER if said_by[1] else TimeSource.DEVICE


def _ns(ticks: int) -> int:
    """Ticks of 100 ns since 1601 as ns since 1970, to the microsecond as asyncua has it."""
    return (ticks // 10 - EPOCH_US) * 1000


def _ticks(time_ns: int) -> int:
    return (time_ns // 1000 + EPOCH_US) * 10
