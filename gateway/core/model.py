"""What the gateway knows and carries: configuration (Link, Device, Tag) and data (Scan, Batch).

A value goes ``instrument → Scan → Batch → journal → sink``. Scan and Batch are columnar: parallel tuples of
shape (n,), one entry per tag, so that no object is made per value. They are different types, so a scan that was
not normalised cannot reach a sink past the type checker.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TypeAlias

from gateway.core.quality import GOOD, Quality, quality

Value: TypeAlias = float | int | bool | str | None
"""An engineering value; None when there is no usable one."""


class Kind(StrEnum):
    """What a tag's values are. It never changes during the life of a series."""

    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    TEXT = "text"


class TimeSource(StrEnum):
    """Who said when the value was true."""

    DEVICE = "device"
    SERVER = "server"
    GATEWAY = "gateway"


# ---------------------------------------------------------------------------------------------- configuration


@dataclass(frozen=True, slots=True)
class Tag:
    """One measured quantity of a device, as configured."""

    name: str  # ASCII slug
    kind: Kind
    address: Hashable  # where it is; the driver's own frozen type, opaque to everyone else
    unit: str = "1"  # UCUM code of the engineering value
    unit_given: bool = True  # False: nobody said a unit; a driver whose device does may put it in
    scale: float = 1.0  # engineering value = wire value × scale + offset; numbers only
    offset: float = 0.0
    low: float | None = None  # valid range in engineering units, both ends included
    high: float | None = None
    deadband: float = 0.0  # smallest change worth reporting, in engineering units; 0 reports every scan
    wrap: float | None = None  # a counter: the engineering value at which it begins again at 0; None: not known, none
    period_ns: int = 1_000_000_000
    names: Mapping[str, str] = field(default_factory=dict, hash=False)  # display names by language ("en", "zh")
    enum: Mapping[int, str] = field(default_factory=dict, hash=False)  # number that the instrument says → its name
    bits: Mapping[int, str] = field(default_factory=dict, hash=False)  # bit, 0 the least significant → its name
    description: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """One instrument, as configured. ``tags`` has shape (m,); an index into it names a tag."""

    site: str
    line: str
    id: str
    tags: tuple[Tag, ...]
    options: object = None  # the driver's own options of this device (a Modbus address, …)
    area: str = ""
    equipment: str = ""  # the ISA-88 unit it belongs to, "R101"
    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    template: str = ""  # what instrument model it was described by
    manufacturer: str = ""
    model: str = ""
    enabled: bool = True  # False: switched off by the user, its tags are BadOutOfService

    @property
    def path(self) -> str:
        """``site/line/device``: how people and logs name it."""
        return f"{self.site}/{self.line}/{self.id}"


@dataclass(frozen=True, slots=True)
class Link:
    """One thing that carries one conversation; the unit of concurrency and of fault isolation."""

    id: str
    type: str  # the key in drivers.DRIVERS
    devices: tuple[Device, ...]
    options: object = None  # the driver's own options of this link (host, port, …)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Tags of one device that are read together; ``index`` has shape (n,)."""

    device: Device
    index: tuple[int, ...]
    period_ns: int

    @property
    def tags(self) -> tuple[Tag, ...]:
        return tuple(self.device.tags[i] for i in self.index)


def groups(device: Device) -> tuple[Group, ...]:
    """The tags of a device by period, fastest first."""
    periods: dict[int, list[int]] = {}
    for i, tag in enumerate(device.tags):
        periods.setdefault(tag.period_ns, []).append(i)
    return tuple(Group(device, tuple(index), period) for period, index in sorted(periods.items()))


# ------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True, slots=True)
class Scan:
    """What an instrument said in one poll or one notification, raw."""

    device: Device
    index: tuple[int, ...]  # (n,) positions in device.tags
    values: tuple[Value, ...]  # (n,) wire values of the tag's kind; None where the status is bad
    status: tuple[int, ...] | None  # (n,) StatusCodes; None: all good
    time_ns: int  # UTC, when the values were true
    received_ns: int  # UTC, when the gateway had them
    times_ns: tuple[int, ...] | None = None  # (n,) where they differ; None: time_ns for all
    time_source: TimeSource = TimeSource.GATEWAY
    text: bytes = b""  # the rendered array of values (gateway.core.text), all finite floats, where it is there already


@dataclass(frozen=True, slots=True)
class Column:
    """What identifies the series of one tag, for ever."""

    name: str
    kind: Kind
    unit: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where batches come from: one device and all its columns, as the journal remembers it.

    Unlike :class:`Device` it survives the configuration it was made from: a batch that is delivered a week later
    still says what it was. Equal sources are interchangeable.
    """

    site: str
    line: str
    device: str
    columns: tuple[Column, ...]
    area: str = ""
    equipment: str = ""
    _hash: int = field(init=False, repr=False, compare=False)  # asked for with every new shape, so made once

    def __post_init__(self) -> None:
        identity = (self.site, self.line, self.device, self.columns, self.area, self.equipment)
        object.__setattr__(self, "_hash", hash(identity))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True)
class Shape:
    """Everything of a batch that does not change from scan to scan: a source and which of its columns.

    The same shape object comes back with every scan of a group, so encoders may keep what they prepared for it
    (in a bounded cache: devices that report by exception have many shapes).
    """

    source: Source
    index: tuple[int, ...]  # (n,) positions in source.columns

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The selected columns, (n,)."""
        return tuple(self.source.columns[i] for i in self.index)

    @cached_property
    def splits(self) -> bool:
        """Whether ``Batch.text`` may be cut at its commas, because no column is text."""
        return all(column.kind is not Kind.TEXT for column in self.columns)

    @cached_property
    def _hash(self) -> int:
        return hash((self.source, self.index))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Batch:
    """A normalised scan: engineering values, as they are stored, published and re-sent.

    ``text`` is the JSON array of ``values``, rendered once (gateway.core.text): the journal stores it and every
    sink cuts it, so a value costs its rendering once and a re-send is the same to the byte.
    """

    shape: Shape
    values: tuple[Value, ...]  # (n,) of each column's kind; None exactly where there is no usable value
    text: bytes  # JSON array of values
    status: tuple[int, ...] | None  # (n,) StatusCodes; None: all good
    time_ns: int  # UTC, when the values were true
    received_ns: int  # UTC, when the gateway had them
    seq: int  # +1 with every batch of this device since the gateway's start
    boot: str  # 8 hex digits, one per start of the gateway
    times_ns: tuple[int, ...] | None = None  # (n,) where they differ; None: time_ns for all
    time_source: TimeSource = TimeSource.GATEWAY
    run: str = ""  # id of the run that was open on the line; empty: none
    phase: str = ""

    def readings(self) -> Iterator[Reading]:
        """One row per value, for people and tests; the hot path never calls this."""
        source = self.shape.source
        for i, column in enumerate(self.shape.columns):
            yield Reading(
                site=source.site,
                line=source.line,
                device=source.device,
                tag=column.name,
                value=self.values[i],
                unit=column.unit,
                status=self.status[i] if self.status else GOOD,
                time_ns=self.times_ns[i] if self.times_ns else self.time_ns,
                time_source=self.time_source,
                received_ns=self.received_ns,
                boot=self.boot,
                seq=self.seq,
                run=self.run,
                phase=self.phase,
            )


@dataclass(frozen=True, slots=True)
class Reading:
    """One row of a batch (the common schema)."""

    site: str
    line: str
    device: str
    tag: str
    value: Value
    unit: str
    status: int
    time_ns: int
    time_source: TimeSource
    received_ns: int
    boot: str
    seq: int
    run: str = ""
    phase: str = ""
    quality: Quality = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quality", quality(self.status))
