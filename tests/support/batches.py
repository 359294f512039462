"""Batches and boards for tests of the delivery side."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.board import LiveBoard
from gateway.core.model import Batch, Column, Device, Kind, Shape, Source, Tag, Value
from gateway.core.quality import GOOD
from gateway.core.text import render
from gateway.health import State

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


def say(
    board: LiveBoard, device: Device, values: Sequence[Value], status: int = GOOD, *, run: str = "", phase: str = ""
) -> None:
    """The device is online and says these values, one per tag."""
    codes = [status] * len(values) if status else None
    board.put(device, batch(values, device=device.id, status=codes, run=run, phase=phase))
    board.set_state(device, State.ONLINE, "", T0)
