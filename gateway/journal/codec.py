"""Batches as bytes: what one row of the journal holds. Pure.

In: the batches of one commit group. Out: one compressed blob, and back. A batch comes back equal, and two batches of
one device come back with the same Shape object.

The layout of a blob, before compression (little-endian)::

    version u8
    contexts: count u32, each boot, run and phase as length u16 + UTF-8
    shapes:   count u32, each source number u32, n u32, n positions (u16, or u32 where the source has more columns)
    records:  count u32, each type u8, length u32, body

A reader that does not know the type of a record can step over it. The body of a batch is a fixed head, the JSON text
of its values (the authority: values are parsed from it) and, where they are not all the same, statuses and times.

The blob is raw deflate: it has no checksum of its own, because the row has one (``checksum``).

A hole is a record that was left out when the journal was thinned; its body is the number of its readings, u32.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct

import orjson

from gateway.core.model import Batch, Column, Kind, Shape, Source, TimeSource
from gateway.core.text import parse
from gateway.journal.rows import Holes

try:
    from isal import isal_zlib
    from isal.igzip_lib import IsalError
except ImportError:  # no wheel for this machine: the same format, 4.7 times slower
    _crc32 = zlib.crc32

    def _deflate(raw: bytes) -> bytes:
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        return packer.compress(raw) + packer.flush()

    def _inflate(blob: bytes) -> bytes:
        return zlib.decompress(blob, -15)

    _InflateError: type[Exception] = zlib.error
else:
    _crc32 = isal_zlib.crc32
    _InflateError = IsalError  # type: ignore[assignment]  # its stub takes the class for an instance

    def _deflate(raw: bytes) -> bytes:
        packed: bytes = isal_zlib.compress(raw, 1, -15)
        return packed

    def _inflate(blob: bytes) -> bytes:
        raw: bytes = isal_zlib.decompress(blob, -15)
        return raw


VERSION = 1
BATCH, HOLE = 1, 2  # record types; those of later versions (events, gaps) get the next numbers

_TIME_SOURCES = tuple(TimeSource)
_HAS_STATUS, _HAS_TIMES, _TIME_SOURCE_SHIFT = 1, 2, 4

_RECORD = Struct("<BI")  # type, length of what follows
_BATCH = Struct("<BIIqqQI")  # flags, context, shape, time, received, seq, length of text
_WHOLE = Struct("<BIBIIqqQI")  # the two in one
_U16, _U32, _SHAPE = Struct("<H"), Struct("<I"), Struct("<II")

_SHAPES_KEPT = 20_000  # devices that report by exception have many


class CodecError(ValueError):
    """The bytes are not a commit group that this version can read."""


class Sources:
    """The sources of one journal by number, and the shapes made of them, each one object."""

    def __init__(self) -> None:
        self.unsaved: dict[int, Source] = {}  # used, but not yet known to be on the disk
        self._by_number: dict[int, Source] = {}
        self._numbers: dict[Source, int] = {}
        self._next = 1
        self._keys: dict[Shape, tuple[int, bytes]] = {}
        self._shapes: dict[tuple[int, bytes], Shape] = {}

    def add(self, number: int, source: Source | None) -> None:
        """The disk has this source; None: it cannot be read any more, its number stays taken."""
        if source is not None:
            self._by_number[number] = source
            self._numbers.setdefault(source, number)
        self._next = max(self._next, number + 1)

    def has(self, number: int) -> bool:
        """Whether this source can be read."""
        return number in self._by_number

    def save_all_again(self) -> None:
        """The disk has forgotten them."""
        self.unsaved.update(self._by_number)

    def key(self, shape: Shape) -> tuple[int, bytes]:
        """The number of the shape's source and the bytes of its index."""
        found = self._keys.get(shape)
        if found is None:
            number = self._number(shape.source)
            found = number, _positions(shape.source, len(shape.index)).pack(*shape.index)
            self._remember(shape, found)
        return found

    def _number(self, source: Source) -> int:
        number = self._numbers.get(source)
        if number is None:
            number = self._next
            self.add(number, source)
            self.unsaved[number] = source
        return number

    def source(self, number: int) -> Source:
        """Raises CodecError where the journal does not have it."""
        try:
            return self._by_number[number]
        except KeyError:
            raise CodecError(f"source {number} is not known") from None

    def shape(self, number: int, index: bytes) -> Shape:
        """The one shape object of this source and index."""
        shape = self._shapes.get((number, index))
        if shape is None:
            source = self.source(number)
            width = 2 if len(source.columns) <= 1 << 16 else 4
            shape = Shape(source, _positions(source, len(index) // width).unpack(index))
            self._remember(shape, (number, index))
        return shape

    def _remember(self, shape: Shape, key: tuple[int, bytes]) -> None:
        if len(self._shapes) >= _SHAPES_KEPT:
            self._shapes.clear()
            self._keys.clear()
        self._shapes[key] = shape
        self._keys[shape] = key


def encode(batches: Sequence[Batch], sources: Sources, holes: Holes | None = None) -> bytes:
    """One commit group as a blob. Sources it is the first to use are added to ``sources.unsaved``."""
    contexts: dict[tuple[str, str, str], int] = {}
    shapes: dict[Shape, int] = {}
    records: list[bytes] = []
    put = records.append
    for i, batch in enumerate(batches):
        if holes:
            records += _encode_holes(holes.get(i, ()))
        context = contexts.setdefault((batch.boot, batch.run, batch.phase), len(contexts))
        shape = shapes.setdefault(batch.shape, len(shapes))
        flags = _TIME_SOURCES.index(batch.time_source) << _TIME_SOURCE_SHIFT
        text = batch.text
        extra = b""
        if batch.status is not None:
            flags |= _HAS_STATUS
            extra = _columns("I", len(batch.status)).pack(*batch.status)
        if batch.times_ns is not None:
            flags |= _HAS_TIMES
            extra += _columns("q", len(batch.times_ns)).pack(*batch.times_ns)
        length = _BATCH.size + len(text) + len(extra)
        times = batch.time_ns, batch.received_ns, batch.seq
        put(_WHOLE.pack(BATCH, length, flags, context, shape, *times, len(text)))
        put(text)
        if extra:
            put(extra)
    head = [bytes((VERSION,)), _U32.pack(len(contexts))]
    for texts in contexts:
        for encoded in map(str.encode, texts):
            head += _U16.pack(len(encoded)), encoded
    head.append(_U32.pack(len(shapes)))
    for shape_object in shapes:
        number, index = sources.key(shape_object)
        head += _SHAPE.pack(number, len(shape_object.index)), index
    if holes:
        records += _encode_holes(holes.get(len(batches), ()))
    head.append(_U32.pack(len(batches) + sum(map(len, (holes or {}).values()))))
    return _deflate(b"".join(head + records))


def _encode_holes(sizes: Sequence[int]) -> list[bytes]:
    return [_RECORD.pack(HOLE, _U32.size) + _U32.pack(readings) for readings in sizes]


def decode(blob: bytes, sources: Sources) -> list[Batch]:
    """The batches of one commit group. Raises CodecError; check ``checksum`` first."""
    return decode_thinned(blob, sources)[0]


def decode_thinned(blob: bytes, sources: Sources) -> tuple[list[Batch], dict[int, list[int]]]:
    """As ``decode``, and what was left out of the group."""
    try:
        return _decode(_inflate(blob), sources)
    except CodecError:
        raise
    except (_InflateError, struct.error, ValueError, IndexError) as error:
        raise CodecError(f"not a commit group: {error}") from error


def _decode(raw: bytes, sources: Sources) -> tuple[list[Batch], dict[int, list[int]]]:
    if raw[0] != VERSION:
        raise CodecError(f"commit group of format {raw[0]}, this program knows {VERSION}")
    contexts, at = _decode_contexts(raw, 1)
    shapes, at = _decode_shapes(raw, at, sources)
    (count,) = _U32.unpack_from(raw, at)
    at += _U32.size
    batches: list[Batch] = []
    holes: dict[int, list[int]] = {}
    for _ in range(count):
        kind, length = _RECORD.unpack_from(raw, at)
        at += _RECORD.size
        if kind == BATCH:
            batches.append(_decode_batch(raw, at, contexts, shapes))
        elif kind == HOLE:
            holes.setdefault(len(batches), []).extend(_U32.unpack_from(raw, at))
        at += length
    return batches, holes


def _decode_batch(raw: bytes, at: int, contexts: list[tuple[str, ...]], shapes: list[Shape]) -> Batch:
    flags, context, shape_number, time_ns, received_ns, seq, text_length = _BATCH.unpack_from(raw, at)
    at += _BATCH.size
    text = raw[at : at + text_length]
    at += text_length
    shape = shapes[shape_number]
    n = len(shape.index)
    status = times_ns = None
    if flags & _HAS_STATUS:
        status = _columns("I", n).unpack_from(raw, at)
        at += 4 * n
    if flags & _HAS_TIMES:
        times_ns = _columns("q", n).unpack_from(raw, at)
    boot, run, phase = contexts[context]
    values = parse(text)
    if len(values) != n:
        raise CodecError(f"{len(values)} values for {n} columns")
    time_source = _TIME_SOURCES[flags >> _TIME_SOURCE_SHIFT]
    return Batch(
        shape, values, text, status, time_ns, received_ns, seq, boot, times_ns, time_source, run, phase
    )  # by position: twice as fast as by name


def _decode_contexts(raw: bytes, at: int) -> tuple[list[tuple[str, ...]], int]:
    (count,) = _U32.unpack_from(raw, at)
    at += _U32.size
    contexts = []
    for _ in range(count):
        texts = []
        for _ in range(3):
            (length,) = _U16.unpack_from(raw, at)
            at += _U16.size
            texts.append(raw[at : at + length].decode())
            at += length
        contexts.append(tuple(texts))
    return contexts, at


def _decode_shapes(raw: bytes, at: int, sources: Sources) -> tuple[list[Shape], int]:
    (count,) = _U32.unpack_from(raw, at)
    at += _U32.size
    shapes = []
    for _ in range(count):
        number, n = _SHAPE.unpack_from(raw, at)
        at += _SHAPE.size
        size = _positions(sources.source(number), n).size
        shapes.append(sources.shape(number, raw[at : at + size]))
        at += size
    return shapes, at


def checksum(numbers: Sequence[int], blob: bytes = b"") -> int:
    """CRC-32 over int64 numbers (a row's own columns) and then over ``blob``."""
    crc: int = _crc32(blob, _crc32(_columns("q", len(numbers)).pack(*numbers)))
    return crc


def encode_source(source: Source) -> bytes:
    """A source as JSON."""
    return orjson.dumps(
        {
            "site": source.site,
            "line": source.line,
            "device": source.device,
            "area": source.area,
            "equipment": source.equipment,
            "columns": [[column.name, column.kind, column.unit] for column in source.columns],
        }
    )


def decode_source(text: bytes) -> Source:
    """The way back. Raises CodecError."""
    try:
        fields = orjson.loads(text)
        columns = tuple(Column(name, Kind(kind), unit) for name, kind, unit in fields.pop("columns"))
        return Source(columns=columns, **fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CodecError(f"not a source: {error}") from error


def _positions(source: Source, n: int) -> Struct:
    return _columns("H" if len(source.columns) <= 1 << 16 else "I", n)


@lru_cache(maxsize=4096)
def _columns(code: str, n: int) -> Struct:
    return Struct(f"<{n}{code}")
