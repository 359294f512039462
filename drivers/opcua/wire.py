"""Bytes of the two answers that come all the time → Columns. Pure: no session, no socket.

In: the body of a PublishResponse or a ReadResponse, after asyncua has put the chunks together and checked signatures.
Out: parallel lists, one entry per DataValue, for ``decode``.

asyncua makes seven objects per value, which costs more than everything behind it. Here records that follow each other
with the same encoding mask and type, which is how servers send them, are unpacked in one go. A Variant that is not
known here (arrays, structures, …) is decoded by asyncua; so is a whole message that is not built as expected. A
test holds this file against asyncua's decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Any, TypeVar

from drivers.opcua.library import Buffer, struct_from_binary, ua, variant_from_binary
from gateway.core.errors import ProtocolError

ARRAY, MATRIX = 0x80, 0x40  # in Columns.types beside the type, as in the encoding of a Variant: more than one value
NO_TIME = 0  # in Columns.source and .server: not told

EPOCH_1601 = datetime(1601, 1, 1, tzinfo=UTC)

T = TypeVar("T")


@dataclass(slots=True)
class Columns:
    """DataValues by column: each list has shape (n,)."""

    handles: list[int] = field(default_factory=list)  # client handles; empty in the answer to a Read
    types: list[int] = field(default_factory=list)  # built-in types, Part 6, 5.1.2, | ARRAY | MATRIX; 0: no value
    values: list[Any] = field(default_factory=list)  # as asyncua would have them
    status: list[int] = field(default_factory=list)
    source: list[int] = field(default_factory=list)  # ticks of 100 ns since 1601
    server: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.types)

    def append(self, kind: int, value: Any, status: int, source: int, server: int) -> None:
        """One more DataValue; its handle is appended by whoever has one."""
        self.types.append(kind)
        self.values.append(value)
        self.status.append(status)
        self.source.append(source)
        self.server.append(server)

    def extend(self, more: Columns) -> None:
        """All of ``more`` behind what is there."""
        for own, others in zip(self._all(), more._all(), strict=True):
            own += others

    def take(self, positions: Sequence[int]) -> Columns:
        """Those at these positions, in this order."""
        return Columns(*([column[i] for i in positions] if column else [] for column in self._all()))

    def _all(self) -> tuple[list[Any], ...]:
        return self.handles, self.types, self.values, self.status, self.source, self.server


@dataclass(slots=True)
class Published:
    """What one PublishResponse says; without data and change it is a sign of life."""

    subscription: int
    sequence: int
    data: list[Columns]  # one per data-change notification
    changed: int | None = None  # StatusCode with which the server ended the subscription
    other: bool = False  # it holds something else, such as events

    @property
    def told(self) -> bool:
        """Whether there is anything to acknowledge."""
        return bool(self.data) or self.changed is not None or self.other


def published(raw: bytes) -> Published:
    """A PublishResponse. Raises ProtocolError, or UaStatusCodeError where the server refuses."""
    try:
        return _published(raw)
    except _STRANGE:
        answer: Any = response(ua.PublishResponse, Buffer(raw))
    answer.ResponseHeader.ServiceResult.check()
    return published_of(answer)


def read_results(raw: bytes) -> Columns:
    """The results in a ReadResponse. Raises ProtocolError, or UaStatusCodeError where the server refuses."""
    try:
        return _read_results(raw)
    except _STRANGE:
        answer: Any = response(ua.ReadResponse, Buffer(raw))
    answer.ResponseHeader.ServiceResult.check()
    return columns_of(answer.Results or ())


def response(kind: type[T], data: object) -> T:
    """The message in ``data``, decoded by asyncua; raises ProtocolError where the bytes make no such message."""
    try:
        answer: T = struct_from_binary(kind, data)
    except BROKEN as e:
        raise ProtocolError(f"an answer that is not OPC UA: {kind.__name__} cannot be decoded ({e})") from e
    said, meant = getattr(answer, "TypeId", None), getattr(kind(), "TypeId", None)
    if said != meant:  # asyncua decodes whatever comes as what it hopes for
        raise ProtocolError(f"an answer of another kind than {kind.__name__}: {said}")
    return answer


# --------------------------------------------------------------------------------------------- asyncua's objects


def published_of(answer: Any) -> Published:
    """A PublishResponse of asyncua as ours."""
    result = answer.Parameters
    message = result.NotificationMessage
    ours = Published(result.SubscriptionId, message.SequenceNumber, [])
    for data in message.NotificationData or ():
        if isinstance(data, ua.DataChangeNotification):
            columns = columns_of(item.Value for item in data.MonitoredItems or ())
            columns.handles = [item.ClientHandle for item in data.MonitoredItems or ()]
            ours.data.append(columns)
        elif isinstance(data, ua.StatusChangeNotification):
            ours.changed = data.Status.value
        else:
            ours.other = True
    return ours


def columns_of(items: Iterable[Any]) -> Columns:
    """DataValues of asyncua as columns."""
    columns = Columns()
    for item in items:
        kind, value = (0, None) if item.Value is None else _variant(item.Value)
        columns.append(
            kind,
            value,
            0 if item.StatusCode is None else item.StatusCode.value,
            _ticks(item.SourceTimestamp),
            _ticks(item.ServerTimestamp),
        )
    return columns


def _variant(variant: Any) -> tuple[int, Any]:
    kind: int = variant.VariantType.value
    if variant.is_array:
        kind |= ARRAY
    if variant.Dimensions and len(variant.Dimensions) > 1:
        kind |= MATRIX
    return kind, variant.Value


def _ticks(stamp: datetime | None) -> int:
    if stamp is None:
        return NO_TIME
    delta = stamp - EPOCH_1601
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 10


# ----------------------------------------------------------------------------------------------------- messages


class _Strange(Exception):
    """Not built as most messages are: asyncua shall decide."""


BROKEN = (
    ua.UaError,
    StructError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What asyncua raises at bytes that make no sense."""

_STRANGE = (_Strange, *BROKEN)

_PUBLISH_RESPONSE = b"\x01\x00" + ua.ObjectIds.PublishResponse_Encoding_DefaultBinary.to_bytes(2, "little")
_READ_RESPONSE = b"\x01\x00" + ua.ObjectIds.ReadResponse_Encoding_DefaultBinary.to_bytes(2, "little")
_DATA_CHANGE = b"\x01\x00" + ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary.to_bytes(2, "little") + b"\x01"
_HEADER = Struct("<4s12xI")  # type, (time, handle), result
_PLAIN_HEADERS = (b"\x00\xff\xff\xff\xff\x00\x00\x00", b"\x00\x00\x00\x00\x00\x00\x00\x00")  # no diagnostics, nothing
_BODY = _HEADER.size + 8
_INT = Struct("<i")
_TWO = Struct("<Ii")
_MESSAGE = Struct("<?I8xi")  # more notifications, sequence number, (time), count of notifications
_NOTIFICATION = Struct("<5sii")  # type and encoding, length, count of items


def _published(raw: bytes) -> Published:
    _expect(raw, _PUBLISH_RESPONSE)
    subscription, available = _TWO.unpack_from(raw, _BODY)
    if available > len(raw):
        raise _Strange
    at = _BODY + 8 + 4 * max(0, available)
    _, sequence, notifications = _MESSAGE.unpack_from(raw, at)
    at += _MESSAGE.size
    answer = Published(subscription, sequence, [])
    for _ in range(notifications):
        kind, length, count = _NOTIFICATION.unpack_from(raw, at)
        end = at + 9 + length
        if kind != _DATA_CHANGE or length < 8 or end > len(raw):
            raise _Strange
        columns, behind = _records(raw, at + _NOTIFICATION.size, end, count, _ITEMS)
        _expect_no_diagnostics(raw, behind, end)
        answer.data.append(columns)
        at = end
    (results,) = _INT.unpack_from(raw, at)
    at += 4 + 4 * max(0, results)
    _expect_no_diagnostics(raw, at, len(raw))
    return answer


def _read_results(raw: bytes) -> Columns:
    _expect(raw, _READ_RESPONSE)
    (count,) = _INT.unpack_from(raw, _BODY)
    columns, behind = _records(raw, _BODY + 4, len(raw), count, _VALUES)
    _expect_no_diagnostics(raw, behind, len(raw))
    return columns


def _expect(raw: bytes, kind: bytes) -> None:
    """The type of a message and the header that nearly all have."""
    found, result = _HEADER.unpack_from(raw)
    if found != kind or result or raw[_HEADER.size : _BODY] not in _PLAIN_HEADERS:
        raise _Strange


def _expect_no_diagnostics(raw: bytes, at: int, end: int) -> None:
    (count,) = _INT.unpack_from(raw, at)
    if count > 0 or at + 4 > end:
        raise _Strange


# ------------------------------------------------------------------------------------------------------ records

_VALUE, _STATUS, _SOURCE, _SERVER, _SOURCE_PICO, _SERVER_PICO = (1 << bit for bit in range(6))  # Part 6, 5.2.2.17
_FORMATS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d", 13: "q"}
_STRING, _DATE_TIME = 12, 13
_ONE_BY_ONE = 4  # records; below that a call per record costs less than one for all


class _Layout:
    """How records of one encoding mask and one type of fixed size lie in a message."""

    __slots__ = ("convert", "fields", "head", "kind", "mask", "offset", "size", "struct")

    def __init__(self, mask: int, kind: int, handled: bool) -> None:
        self.kind = kind
        self.head = bytes((mask, kind)) if mask & _VALUE else bytes((mask,))
        self.offset = 4 if handled else 0  # of the mask
        self.struct = Struct(
            "<" + ("I" if handled else "") + f"{len(self.head)}x" + _FORMATS.get(kind, "") + _tail(mask)
        )
        self.size = self.struct.size
        self.convert: Callable[[int], Any] | None = ua.win_epoch_to_datetime if kind == _DATE_TIME else None
        present = (handled, bool(kind), bool(mask & _STATUS), bool(mask & _SOURCE), bool(mask & _SERVER))
        places = iter(range(len(present)))
        self.fields = tuple(next(places) if each else None for each in present)

    def run(self, raw: bytes, at: int, most: int) -> int:
        """How many records from ``at`` on have this layout; the first one does; at most ``most``."""
        for i, byte in enumerate(self.head):
            first = at + self.offset + i
            seen = raw[first : first + (most - 1) * self.size + 1 : self.size]
            most = len(seen) - len(seen.lstrip(bytes((byte,))))
        return most

    def unpack(self, raw: bytes, at: int, count: int, into: Columns) -> None:
        """Append ``count`` records of this layout."""
        handle, value, status, source, server = self.fields
        if count < _ONE_BY_ONE:
            for start in range(at, at + count * self.size, self.size):
                found = self.struct.unpack_from(raw, start)
                if handle is not None:
                    into.handles.append(found[handle])
                into.append(
                    self.kind,
                    None if value is None else found[value] if self.convert is None else self.convert(found[value]),
                    0 if status is None else found[status],
                    NO_TIME if source is None else found[source],
                    NO_TIME if server is None else found[server],
                )
            return
        columns = list(zip(*self.struct.iter_unpack(raw[at : at + count * self.size]), strict=True))
        if handle is not None:
            into.handles += columns[handle]
        into.types += [self.kind] * count
        if value is None:
            into.values += [None] * count
        else:
            into.values += columns[value] if self.convert is None else map(self.convert, columns[value])
        into.status += [0] * count if status is None else columns[status]
        into.source += [NO_TIME] * count if source is None else columns[source]
        into.server += [NO_TIME] * count if server is None else columns[server]


def _tail(mask: int) -> str:
    """What follows the value, in the order of the standard: asyncua has the picoseconds at the end."""
    parts = ((_STATUS, "I"), (_SOURCE, "q"), (_SOURCE_PICO, "2x"), (_SERVER, "q"), (_SERVER_PICO, "2x"))
    return "".join(form for bit, form in parts if mask & bit)


def _layouts(handled: bool) -> Mapping[int, _Layout]:
    """Layouts by mask + 256 × type."""
    masks = range(64)
    table = {mask: _Layout(mask, 0, handled) for mask in masks}
    table |= {mask + 256 * kind: _Layout(mask, kind, handled) for mask in masks if mask & _VALUE for kind in _FORMATS}
    return table


_ITEMS, _VALUES = _layouts(True), _layouts(False)
_TAILS = tuple(_Layout(mask & ~_VALUE, 0, False) for mask in range(64))  # one byte, then what follows the value


def _records(raw: bytes, at: int, end: int, count: int, layouts: Mapping[int, _Layout]) -> tuple[Columns, int]:
    """``count`` records from ``at`` on, which must end before ``end``; gives also where they end."""
    columns = Columns()
    offset = layouts[0].offset
    left, block = max(0, count), 1
    while left:
        mask = raw[at + offset]
        layout = layouts.get(mask + 256 * raw[at + offset + 1] if mask & _VALUE else mask)
        if layout is None:
            at = _one(raw, at, offset, columns)
            if at > end:
                raise _Strange
            left -= 1
            continue
        most = min(left, block, (end - at) // layout.size)
        if most < 1:
            raise _Strange
        length = layout.run(raw, at, most)
        block = block * 2 if length == block else 1  # looking ahead costs no more than what it brought
        layout.unpack(raw, at, length, columns)
        at += length * layout.size
        left -= length
    return columns, at


def _one(raw: bytes, at: int, offset: int, into: Columns) -> int:
    """Append one record whose value is no fixed number of bytes; gives where it ends."""
    if offset:
        into.handles.append(int.from_bytes(raw[at : at + 4], "little"))
        at += 4
    mask, kind = raw[at], raw[at + 1]
    if mask >= 64:
        raise _Strange
    value: Any
    if kind == _STRING:
        (length,) = _INT.unpack_from(raw, at + 2)
        at += 6
        if length < -1 or at + length > len(raw):
            raise _Strange
        value = None
        if length >= 0:
            value = raw[at : at + length].decode("utf-8", "surrogateescape")
            at += length
    else:
        buffer = Buffer(raw, at + 1)
        kind, value = _variant(variant_from_binary(buffer))
        at = buffer.cur_pos
    tail = _TAILS[mask]
    _, _, status, source, server = tail.fields
    found = tail.struct.unpack_from(raw, at - 1)
    into.append(
        kind,
        value,
        0 if status is None else found[status],
        NO_TIME if source is None else found[source],
        NO_TIME if server is None else found[server],
    )
    return at - 1 + tail.size
