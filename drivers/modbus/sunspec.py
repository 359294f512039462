"""SunSpec: a device says itself which models its registers hold. Pure, but for the questions that ``discover`` asks.

In: model definitions as files, in the layout of the public ones (``model_103.json``), and a device. Out: where each
model begins, and the tags of its points, with the registers of their scale factors. A model that nobody has seen
before is one more file.

    base (40000, 0 or 50000)   "SunS"
    base + 2                   id, length, points …
    behind it                  id, length, points …
    …                          0xFFFF, 0
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from drivers.modbus.plan import END

BASES = (40_000, 0, 50_000)
MARKER = b"SunS"
LAST = 0xFFFF  # in place of a model id: nothing follows
MOST_MODELS = 200
LONGEST = 120  # registers per request

Ask: TypeAlias = Callable[[int, int], Awaitable[bytes | int]]
"""(first register, registers) → the data, or an exception code."""

UNITS = {
    "VA": "V.A", "VAr": "var", "Var": "var", "Wh": "W.h", "VAh": "V.A.h", "VArh": "var.h", "varh": "var.h",
    "Varh": "var.h", "Ah": "A.h", "AH": "A.h", "kWh": "kW.h", "C": "Cel", "Pct": "%", "Secs": "s", "Sec": "s",
    "secs": "s", "Degrees": "deg", "Mins": "min", "Ohms": "Ohm", "RPM": "r/min", "W/m2": "W/m2", "mps": "m/s",
    "mm": "mm", "hPa": "hPa", "HPa": "hPa",
}  # fmt: skip
"""What models say → UCUM; a unit that is not here and no UCUM code is left out."""

SAME_IN_UCUM = ("A", "V", "W", "Hz", "var", "s", "ms", "kW", "kV", "mA", "mV", "Ohm", "m", "bar", "K", "deg", "m/s")

TYPES = {
    "int16": ("int16", 0x8000), "uint16": ("uint16", 0xFFFF), "count": ("uint16", None), "raw16": ("uint16", None),
    "int32": ("int32", 0x8000_0000), "uint32": ("uint32", 0xFFFF_FFFF), "int64": ("int64", 1 << 63),
    "uint64": ("uint64", (1 << 64) - 1), "float32": ("float32", None), "float64": ("float64", None),
    "acc16": ("acc16", None), "acc32": ("acc32", None), "acc64": ("acc64", None), "enum16": ("uint16", 0xFFFF),
    "enum32": ("uint32", 0xFFFF_FFFF), "bitfield16": ("bitfield16", 0xFFFF), "bitfield32": ("bitfield32", 0xFFFF_FFFF),
    "string": ("string", None),
}  # fmt: skip
"""Type of a point → type of a tag, and the raw value that means "not implemented". Others are no values."""

TEXT_PERIOD_S = 3600  # of what stands on the type plate
STRING_MOST = 62  # registers of a text that fit into a request of any instrument


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a model."""

    name: str
    type: str
    size: int  # registers
    label: str = ""
    units: str = ""
    scale: str | int = ""  # the point that holds the power of ten, or the power itself
    symbols: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Points that repeat. ``count``: how often, or the point that says so; 0: as often as they fit."""

    name: str
    points: tuple[Point, ...]
    count: str | int = 1

    @property
    def size(self) -> int:
        return sum(point.size for point in self.points)


@dataclass(frozen=True, slots=True)
class Model:
    """What the registers of a model mean."""

    id: int
    name: str
    label: str
    points: tuple[Point, ...]
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """One model as a device has it; ``data`` from its id on."""

    model: int
    register: int
    length: int  # registers behind id and length
    data: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What a device says it has."""

    base: int
    blocks: tuple[Block, ...]
    note: str = ""  # how the chain ended, where it did not end as it should


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of a device, as a template lists them, and the points that it does not implement."""

    tags: tuple[dict[str, Any], ...]
    absent: tuple[str, ...]


# -------------------------------------------------------------------------------------------------- definitions


def parse_model(definition: Mapping[str, Any]) -> Model:
    """A model from the content of its file. Raises ValueError with a sentence."""
    try:
        top = definition["group"]
        groups = tuple(
            Group(str(group["name"]), tuple(map(_point, group.get("points", ()))), group.get("count", 1))
            for group in top.get("groups", ())
        )
        points = tuple(map(_point, top["points"]))
        return Model(int(definition["id"]), str(top["name"]), str(top.get("label", top["name"])), points, groups)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"is no SunSpec model definition ({type(error).__name__}: {error})") from error


def _point(said: Mapping[str, Any]) -> Point:
    return Point(
        name=str(said["name"]),
        type=str(said["type"]),
        size=int(said["size"]),
        label=str(said.get("label", "")),
        units=str(said.get("units", "")),
        scale=said.get("sf", ""),
        symbols=tuple((int(symbol["value"]), str(symbol["name"])) for symbol in said.get("symbols", ())),
    )


# ---------------------------------------------------------------------------------------------------- discovery


async def discover(ask: Ask) -> Found | None:
    """Look for the marker and walk the chain of models; None where there is no marker."""
    for base in BASES:
        if await ask(base, 2) == MARKER:
            return await _walk(ask, base)
    return None


async def _walk(ask: Ask, base: int) -> Found:
    blocks: list[Block] = []
    register = base + 2
    while len(blocks) < MOST_MODELS and register + 2 <= END:
        head = await ask(register, 2)
        if isinstance(head, int):
            return Found(base, tuple(blocks), f"the chain stops at {register} without its end mark (exception {head})")
        model, length = int.from_bytes(head[:2], "big"), int.from_bytes(head[2:], "big")
        if model == LAST:
            return Found(base, tuple(blocks))
        if register + 2 + length > END:
            break
        data = await _data(ask, register, 2 + length)
        if isinstance(data, int):
            return Found(base, tuple(blocks), f"model {model} at {register} cannot be read (exception {data})")
        blocks.append(Block(model, register, length, data))
        register += 2 + length
    return Found(base, tuple(blocks), f"the chain of models makes no sense at {register}")


async def _data(ask: Ask, start: int, count: int) -> bytes | int:
    whole = b""
    for first in range(start, start + count, LONGEST):
        part = await ask(first, min(LONGEST, start + count - first))
        if isinstance(part, int):
            return part
        whole += part
    return whole


# ---------------------------------------------------------------------------------------------------- the tags


@dataclass(frozen=True, slots=True)
class _Placed:
    """A point at its register, with the registers of what it may refer to."""

    point: Point
    suffix: str  # of a group that repeats: its name and number
    register: int
    places: Mapping[str, int]  # point → register, of its own group and of the model


def tags_of(blocks: Sequence[Block], models: Mapping[int, Model]) -> Tags:
    """The tags of every block whose model is known; points that the device says it does not have are left out."""
    tags: list[dict[str, Any]] = []
    absent: list[str] = []
    known = [(block, models[block.model]) for block in blocks if block.model in models]
    placed = [(block, each) for block, model in known for each in _placed(block, model)]
    times: dict[str, int] = {}
    for _, each in placed:
        times[_slug(each)] = times.get(_slug(each), 0) + 1
    numbers = _numbers([block for block, _ in known])
    for block, each in placed:
        name = _slug(each)
        if times[name] > 1:
            name = f"{numbers[block.register]}_{name}"
        tag = _tag(name, each)
        if tag is None:
            continue
        if _is_absent(each, block):
            absent.append(name)
        else:
            tags.append(tag)
    return Tags(tuple(tags), tuple(absent))


def _numbers(blocks: Sequence[Block]) -> dict[int, str]:
    """Register of a block → m103, or m103_2 for the second of its kind."""
    seen: dict[int, int] = {}
    names: dict[int, str] = {}
    for block in blocks:
        seen[block.model] = seen.get(block.model, 0) + 1
        names[block.register] = f"m{block.model}" + (f"_{seen[block.model]}" if seen[block.model] > 1 else "")
    return names


def _placed(block: Block, model: Model) -> Iterator[_Placed]:
    """Every point that lies within the length the device gave."""
    end = block.register + 2 + block.length
    top = _layout(model.points, block.register)
    for point, register in top:
        if register + point.size <= end:
            yield _Placed(point, "", register, {p.name: r for p, r in top})
    register = block.register + sum(point.size for point in model.points)
    outer = {point.name: place for point, place in top}
    for group in model.groups:
        for number in range(1, _count(group, outer, block, register) + 1):
            inner = _layout(group.points, register)
            places = outer | {point.name: place for point, place in inner}
            for point, place in inner:
                if place + point.size <= end:
                    yield _Placed(point, f"_{_snake(group.name)}_{number}", place, places)
            register += group.size


def _layout(points: Sequence[Point], register: int) -> list[tuple[Point, int]]:
    placed = []
    for point in points:
        placed.append((point, register))
        register += point.size
    return placed


def _count(group: Group, places: Mapping[str, int], block: Block, register: int) -> int:
    if isinstance(group.count, int) and group.count:
        return group.count
    fit = (block.register + 2 + block.length - register) // group.size if group.size else 0
    if isinstance(group.count, str) and group.count in places:
        at = 2 * (places[group.count] - block.register)
        return min(fit, int.from_bytes(block.data[at : at + 2], "big"))
    return fit


def _tag(name: str, placed: _Placed) -> dict[str, Any] | None:
    """The keys of the tag; None for what is no value."""
    point = placed.point
    if point.name in ("ID", "L") or point.type not in TYPES:
        return None
    kind, invalid = TYPES[point.type]
    tag: dict[str, Any] = {"name": name, "register": placed.register, "type": kind}
    if kind == "string":
        tag["length"] = min(point.size, STRING_MOST)
    if invalid is not None:
        tag["invalid"] = [invalid]
    if isinstance(point.scale, int):
        tag["scale"] = 10.0**point.scale
    elif point.scale in placed.places:
        tag["scale_from"] = {"register": placed.places[point.scale]}
    if unit := _unit(point.units):
        tag["unit"] = unit
    if point.symbols and kind.startswith("bitfield"):
        tag["bits"] = {str(value): symbol for value, symbol in point.symbols}
    elif point.symbols and point.type.startswith("enum"):
        tag["enum"] = {str(value): symbol for value, symbol in point.symbols}
    if kind == "string":
        tag["period_s"] = TEXT_PERIOD_S
    if point.label:
        tag["names"] = {"en": point.label}
    return tag


def _is_absent(placed: _Placed, block: Block) -> bool:
    """Whether the registers hold what means "not implemented"."""
    at = 2 * (placed.register - block.register)
    data = block.data[at : at + 2 * placed.point.size]
    kind, invalid = TYPES[placed.point.type]
    if kind == "string":
        return not data.strip(b"\0 ")
    if kind == "float32":
        return data[:2] >= b"\x7f\x80" and data != b"\x7f\x80\0\0"
    return invalid is not None and int.from_bytes(data, "big") == invalid


def _unit(units: str) -> str:
    return UNITS.get(units, units if units in SAME_IN_UCUM else "")


def _slug(placed: _Placed) -> str:
    return _snake(placed.point.name) + placed.suffix


def _snake(name: str) -> str:
    """``PhVphA`` → ``ph_vph_a``: what a topic can carry."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")


def text_of(block: Block, model: Model, point: str) -> str:
    """What a text of a block says, such as the manufacturer in model 1; empty where it has none."""
    for each, register in _layout(model.points, block.register):
        if each.name == point:
            at = 2 * (register - block.register)
            return block.data[at : at + 2 * each.size].split(b"\0")[0].decode("latin-1").strip()
    return ""
