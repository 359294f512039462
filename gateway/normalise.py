"""Scan → Batch: engineering values, range, quality, deadband, run, sequence number. Pure.

In: what an instrument said. Out: what is stored and published, or None when nothing in it is worth reporting.
One Normaliser per device; what does not change from scan to scan is prepared once per selection of tags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from math import inf, isfinite
from operator import gt, lt

from gateway.core.model import Batch, Column, Device, Kind, Scan, Shape, Source, Tag, TimeSource, Value
from gateway.core.quality import GOOD, Status, is_bad, worst
from gateway.core.text import render

SHAPES = 256  # selections of tags that are remembered per device; with report by exception there may be 2^n
TEXT_BYTES = 4096  # of a text, as UTF-8: a device may say megabytes, and every reading is stored and sent
INT64 = range(-(2**63), 2**63)


def source_of(device: Device) -> Source:
    """What the journal remembers of a device."""
    columns = tuple(Column(tag.name, tag.kind, tag.unit) for tag in device.tags)
    return Source(device.site, device.line, device.id, columns, device.area, device.equipment)


class Normaliser:
    """Normalises the scans of one device, in the order in which they came."""

    def __init__(self, device: Device, boot: str) -> None:
        self.filtered = 0  # readings left out because they lay within their deadband
        self._device = device
        self._source = source_of(device)
        self._boot = boot
        self._seq = 0
        self._plans: dict[tuple[int, ...], _Plan] = {}
        self._shapes: dict[tuple[int, ...], Shape] = {}
        self._last_poll, self._repeats = 0, 0
        # per tag: the last time the device gave, how often with another value, and that value with its status
        self._said: list[tuple[int, int, tuple[Value, int]]] = [(0, 0, (None, GOOD))] * len(device.tags)
        self._reported: dict[int, tuple[Value, int]] = {}  # tags with a deadband: what was last reported

    def succeed(self, before: Normaliser) -> None:
        """Go on where the normaliser of the same device as it was configured before has ended.

        Sequence numbers have no gap and no repeat within a boot, and times of a tag stay distinct.
        """
        self._seq = before._seq
        self._last_poll, self._repeats = before._last_poll, before._repeats
        said = dict(zip((tag.name for tag in before._device.tags), before._said, strict=True))
        self._said = [said.get(tag.name, nothing) for tag, nothing in zip(self._device.tags, self._said, strict=True)]

    @property
    def device(self) -> Device:
        """Whose scans it takes."""
        return self._device

    def __call__(self, scan: Scan, run: str = "", phase: str = "") -> Batch | None:
        """The batch of one scan; None where every value lies within its deadband of the one last reported."""
        plan = self._plans.get(scan.index) or self._prepare(scan.index)
        values, status = plan.engineering(scan.values, scan.status, finite=bool(scan.text))
        index = scan.index
        time_ns, times_ns = self._distinct(scan, values, status)
        if plan.deadbands:
            keep = self._changed(plan, values, status)
            if not keep:
                return None
            if len(keep) < len(index):
                index = tuple(index[i] for i in keep)
                values = tuple(values[i] for i in keep)
                status = tuple(status[i] for i in keep) if status and any(status[i] for i in keep) else None
                times_ns = tuple(times_ns[i] for i in keep) if times_ns else None
        self._seq += 1
        return Batch(
            shape=plan.shape if index is scan.index else self._shape(index),
            values=values,
            text=scan.text if scan.text and values is scan.values else render(values),
            status=status,
            time_ns=time_ns,
            received_ns=scan.received_ns,
            seq=self._seq,
            boot=self._boot,
            times_ns=times_ns,
            time_source=scan.time_source,
            run=run,
            phase=phase,
        )

    def _prepare(self, index: tuple[int, ...]) -> _Plan:
        if len(self._plans) >= SHAPES:
            self._plans.clear()
        plan = self._plans[index] = _Plan(self._shape(index), tuple(self._device.tags[i] for i in index))
        return plan

    def _shape(self, index: tuple[int, ...]) -> Shape:
        shape = self._shapes.get(index)
        if shape is None:
            if len(self._shapes) >= SHAPES:
                self._shapes.clear()
            shape = self._shapes[index] = Shape(self._source, index)
        return shape

    def _distinct(
        self, scan: Scan, values: Sequence[Value], status: Sequence[int] | None
    ) -> tuple[int, tuple[int, ...] | None]:
        """Times that differ from those before: two values of a tag with one time would overwrite each other.

        Each such repeat moves on by 1 ns. It is decided here, once, so a re-send says the same. The very same value
        with the very same time is told again (a server republishes after an outage) and keeps its time.
        """
        if scan.times_ns is None and scan.time_source is TimeSource.GATEWAY:
            if scan.time_ns != self._last_poll:
                self._last_poll, self._repeats = scan.time_ns, 0
            else:
                self._repeats += 1
            return scan.time_ns + self._repeats, None
        times = list(scan.times_ns or (scan.time_ns,) * len(scan.index))
        for position, i in enumerate(scan.index):
            said, repeats, what = self._said[i]
            now = (values[position], status[position] if status else GOOD)
            repeats = 0 if said != times[position] else repeats if what == now else repeats + 1
            self._said[i] = (times[position], repeats, now)
            times[position] += repeats
        newest = max(times)
        return newest, None if min(times) == newest else tuple(times)

    def _changed(self, plan: _Plan, values: Sequence[Value], status: Sequence[int] | None) -> list[int]:
        """Positions worth reporting; remembers what is reported of the tags with a deadband."""
        keep = []
        for position, (i, deadband) in enumerate(zip(plan.shape.index, plan.deadbands, strict=True)):
            value, code = values[position], status[position] if status else GOOD
            if deadband:
                before = self._reported.get(i)
                if before and before[1] == code and _within(deadband, before[0], value):
                    self.filtered += 1
                    continue
                self._reported[i] = (value, code)
            keep.append(position)
        return keep


def _within(deadband: float, before: Value, now: Value) -> bool:
    if before is None or now is None or isinstance(before, str) or isinstance(now, str):
        return before == now
    return abs(now - before) < deadband


class _Plan:
    """What is prepared for one selection of tags: (n,) columns of limits and converters, and which steps to skip."""

    def __init__(self, shape: Shape, tags: Sequence[Tag]) -> None:
        self.shape = shape
        self.deadbands = tuple(tag.deadband for tag in tags) if any(tag.deadband for tag in tags) else ()
        self._converters = tuple(map(_converter, tags))
        self._plain = shape.splits and all(tag.scale == 1 and tag.offset == 0 for tag in tags)
        self._types = tuple(_TYPES[tag.kind] for tag in tags)
        self._lows = tuple(-inf if tag.low is None else tag.low for tag in tags)
        self._highs = tuple(inf if tag.high is None else tag.high for tag in tags)
        self._ranged = any(tag.low is not None for tag in tags)

    def engineering(
        self, raw: tuple[Value, ...], status: tuple[int, ...] | None, finite: bool = False
    ) -> tuple[tuple[Value, ...], tuple[int, ...] | None]:
        """Engineering values and statuses, (n,) each; None for all good. ``finite``: known to be finite floats.

        Most scans are numbers without scale where all is well: they pass in 0.13 µs per value, the others take 0.5.
        """
        plain = status is None and self._plain and (finite or self._as_declared(raw))
        if plain and not (self._ranged and self._any_outside(raw)):
            return raw, None
        values, codes = [], []
        for position, value in enumerate(raw):
            code = status[position] if status else GOOD
            if is_bad(code):
                value = None
            elif value is None:
                code = Status.BAD_WAITING_FOR_INITIAL_DATA
            else:
                value, code = self._converters[position](value, code)
                if isinstance(value, (int, float)) and not self._lows[position] <= value <= self._highs[position]:
                    code = worst(code, Status.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED)
            values.append(value)
            codes.append(code)
        return tuple(values), tuple(codes) if any(codes) else None

    def _as_declared(self, values: Sequence[Value]) -> bool:
        """Whether all are numbers of the right type that every sink can hold. A float beyond int64 may say no."""
        return (
            tuple(map(type, values)) == self._types
            and max(values) <= INT64.stop - 1  # type: ignore[type-var,operator]
            and min(values) >= INT64.start  # type: ignore[type-var,operator]
            and all(map(isfinite, values))  # type: ignore[arg-type]
        )

    def _any_outside(self, values: Sequence[Value]) -> bool:
        return any(map(lt, values, self._lows)) or any(map(gt, values, self._highs))  # type: ignore[arg-type]


_NUMBERS = frozenset((int, float))
_TYPES = {Kind.FLOAT: float, Kind.INT: int, Kind.BOOL: bool, Kind.TEXT: str}
Converted = tuple[Value, int]


def _converter(tag: Tag) -> Callable[[Value, int], Converted]:
    """(wire value, status) → (engineering value, status) for one tag. Never a silent cast."""
    match tag.kind:
        case Kind.FLOAT:
            return _float_converter(tag)
        case Kind.INT:
            return _int_converter(tag)
        case Kind.BOOL:
            return lambda value, code: (value, code) if type(value) is bool else _mismatch(value)
        case Kind.TEXT:
            return _text


def _mismatch(value: Value) -> Converted:
    return None, Status.BAD_TYPE_MISMATCH


def _text(value: Value, code: int) -> Converted:
    """What is cut is uncertain; half a surrogate pair, which no UTF-8 can hold, becomes a question mark."""
    if type(value) is not str:
        return _mismatch(value)
    if value.isascii() and len(value) <= TEXT_BYTES:
        return value, code
    raw = value[: TEXT_BYTES + 1].encode("utf-8", "replace")
    if len(raw) > TEXT_BYTES:
        raw, code = raw[:TEXT_BYTES], worst(code, Status.UNCERTAIN)
    return raw.decode("utf-8", "ignore"), code


def _float_converter(tag: Tag) -> Callable[[Value, int], Converted]:
    scale, divisor, offset = tag.scale, _divisor(tag.scale), tag.offset
    digits = max(_decimals(scale), _decimals(offset))

    def convert(value: Value, code: int) -> Converted:
        if type(value) not in _NUMBERS:
            return _mismatch(value)
        try:
            result = float((value / divisor if divisor else value * scale) + offset)  # type: ignore[operator]
        except OverflowError:  # an integer of the wire beyond what a double holds
            return None, Status.BAD_SENSOR_FAILURE
        if not isfinite(result):
            return None, Status.BAD_SENSOR_FAILURE
        # a whole number of tenths is a decimal fraction again, also after an offset: 3001 × 0.1 - 273.15 is 26.95
        return (round(result, digits) if offset and type(value) is int else result), code

    return convert


def _int_converter(tag: Tag) -> Callable[[Value, int], Converted]:
    scale, offset = tag.scale, tag.offset

    def convert(value: Value, code: int) -> Converted:
        if type(value) is not int:
            return _mismatch(value)
        if scale != 1 or offset:
            value = round(value * scale + offset)
        if value not in INT64:
            return None, Status.BAD_SENSOR_FAILURE
        return value, code

    return convert


def _divisor(scale: float) -> float | None:
    """10ᵏ where the scale is 10⁻ᵏ: dividing rounds once, 242 / 10 is 24.2 where 242 × 0.1 is 24.200000000000003."""
    inverse = round(1 / scale)
    return float(inverse) if inverse > 1 and 1 / inverse == scale and str(inverse).strip("0") == "1" else None


def _decimals(number: float) -> int:
    exponent = Decimal(repr(number)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
