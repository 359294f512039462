"""Batches and boards for tests of the delivery side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.core.contracts import Newest
from gateway.core.model import Batch, Column, Device, Kind, Shape, Source, Tag, Value
from gateway.core.quality import Status
from gateway.core.text import render

T0 = 1_763_800_000_123_456_789
BOOT = "9f3a11c2"

COLUMNS = (
    Column("temperature", Kind.FLOAT, "Cel"),
    Column("pressure", Kind.FLOAT, "bar"),
    Column("counter", Kind.INT, "1"),
    Column("running", Kind.BOOL, "1"),
    Column("recipe", Kind.TEXT, "1"),
)


def source(device: str = "meter", columns: Sequence[Column] = COLUMNS, **more: str) -> Source:
    return Source("wuxi", "pl1", device, tuple(columns), **more)


def batch(
    values: Sequence[Value],
    *,
    seq: int = 1,
    device: str = "meter",
    columns: Sequence[Column] = COLUMNS,
    status: Sequence[int] | None = None,
    time_ns: int | None = None,
    times_ns: Sequence[int] | None = None,
    run: str = "",
    phase: str = "",
    index: Sequence[int] | None = None,
    extra: dict[str, str] | None = None,
) -> Batch:
    """One batch; its time grows with ``seq`` unless it is given."""
    shape = Shape(source(device, columns, **(extra or {})), tuple(index if index is not None else range(len(values))))
    at = T0 + seq * 1_000_000_000 if time_ns is None else time_ns
    return Batch(
        shape=shape,
        values=tuple(values),
        text=render(tuple(values)),
        status=tuple(status) if status else None,
        time_ns=at,
        received_ns=at + 8_000_000,
        seq=seq,
        boot=BOOT,
        times_ns=tuple(times_ns) if times_ns else None,
        run=run,
        phase=phase,
    )


def floats(count: int, *, first: int = 1, device: str = "meter") -> list[Batch]:
    """So many batches of two floats each."""
    return [
        batch((80.0 + seq / 8, 1.5), seq=seq, device=device, columns=COLUMNS[:2]) for seq in range(first, first + count)
    ]


def device(device_id: str = "meter", columns: Sequence[Column] = COLUMNS) -> Device:
    tags = tuple(Tag(column.name, column.kind, f"40{i:03}", column.unit) for i, column in enumerate(columns))
    return Device("wuxi", "pl1", device_id, tags, names={"en": "Meter", "zh": "电表"}, manufacturer="Eastron")


@dataclass(slots=True)
class Entry:
    """The state of one device; satisfies DeviceState."""

    device: Device
    state: str = "online"
    since_ns: int = T0
    error: str = ""
    newest: Newest = field(default_factory=lambda: Newest((), (), ()))
    version: int = 0
    urgency: int = 0


class FakeBoard:
    """A Board that a test writes by hand."""

    def __init__(self, *devices: Device) -> None:
        self._entries = {d.path: Entry(d, newest=_waiting(len(d.tags))) for d in devices}
        self._run = ("", "")
        self._changed = asyncio.Event()

    def put(self, device: Device, values: Sequence[Value], status: int = 0, time_ns: int = T0) -> None:
        """New values; urgent when the quality changed."""
        entry = self._entries[device.path]
        urgent = entry.newest.status[0] != status
        entry.newest = Newest(values, (status,) * len(values), (time_ns,) * len(values))
        entry.version += 1
        if urgent:
            self._urge(entry)

    def set_state(self, device: Device, state: str, error: str) -> None:
        entry = self._entries[device.path]
        entry.state, entry.error = state, error
        self._urge(entry)

    def set_run(self, run: str, phase: str) -> None:
        self._run = (run, phase)
        for entry in self._entries.values():
            self._urge(entry)

    def _urge(self, entry: Entry) -> None:
        entry.urgency += 1
        self._changed.set()

    def states(self) -> Sequence[Entry]:
        return tuple(self._entries.values())

    def newest(self, device: Device) -> Newest:
        return self._entries[device.path].newest

    def run(self, device: Device) -> tuple[str, str]:
        return self._run

    def version(self, device: Device) -> int:
        return self._entries[device.path].version

    def urgency(self, device: Device) -> int:
        return self._entries[device.path].urgency

    async def changed(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _waiting(count: int) -> Newest:
    return Newest((None,) * count, (Status.BAD_WAITING_FOR_INITIAL_DATA,) * count, (0,) * count)
