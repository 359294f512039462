"""Batches for tests of the journal and of what stands behind it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gateway.core.model import Batch, Column, Kind, Shape, Source, TimeSource, Value
from gateway.core.text import render, shortest_float32

TIME_NS = 1_763_800_000_123_000_000


def source(device: str = "meter", columns: int = 3, kind: Kind = Kind.FLOAT) -> Source:
    """A device with tags t0, t1, …"""
    names = tuple(Column(f"t{i}", kind, "Cel") for i in range(columns))
    return Source("wuxi", "pl1", device, names, area="hall", equipment="R101")


def batch(
    seq: int,
    values: Sequence[Value] = (80.4, 1.0, None),
    *,
    shape: Shape | None = None,
    status: tuple[int, ...] | None = None,
    received_ns: int | None = None,
    run: str = "",
) -> Batch:
    """One batch; its seq tells it apart."""
    shape = shape or Shape(source(columns=len(values)), tuple(range(len(values))))
    time_ns = TIME_NS + seq * 1_000_000
    received = time_ns + 8_000_000 if received_ns is None else received_ns
    return Batch(shape, tuple(values), render(values), status, time_ns, received, seq, "9f3a11c2", run=run)


def noisy(count: int, columns: int, seed: int = 1) -> list[Batch]:
    """Batches of float32 as a noisy instrument gives them, 50 devices in turn."""
    generator = random.Random(seed)
    shapes = [Shape(source(f"device-{i}", columns), tuple(range(columns))) for i in range(50)]
    walk = [[generator.uniform(10, 100) for _ in range(columns)] for _ in shapes]
    batches = []
    for seq in range(count):
        values = walk[seq % 50] = [value + generator.gauss(0, 0.1) for value in walk[seq % 50]]
        batches.append(batch(seq, tuple(shortest_float32(values)), shape=shapes[seq % 50]))
    return batches


def odd_batches() -> list[Batch]:
    """One of every kind that the codec must carry."""
    mixed = Source(
        "wuxi",
        "pl1",
        "plc",
        (
            Column("level", Kind.FLOAT, "%"),
            Column("count", Kind.INT, "1"),
            Column("open", Kind.BOOL, "1"),
            Column("state", Kind.TEXT, "1"),
        ),
    )
    everything = (1e22, -(2**63), False, '配方,"\u0000]')
    wide = Source("wuxi", "pl1", "wide", tuple(Column(f"t{i}", Kind.FLOAT, "1") for i in range(70_000)))
    first = batch(1, everything, shape=Shape(mixed, (0, 1, 2, 3)), status=(0, 0x4094_0000, 0, 0), run="pl1-001")
    return [
        first,
        batch(2, (None, 7), shape=Shape(mixed, (2, 1)), status=(0x8000_0000, 0)),
        batch(3, (0.5, 1.0), shape=Shape(wide, (69_999, 0))),
        batch(4, (), shape=Shape(mixed, ())),
        Batch(
            Shape(mixed, (0, 1)),
            (5e-324, 0),
            b"[5e-324,0]",
            None,
            -1,
            2**62,
            2**64 - 1,
            "",
            (1, -(2**63)),
            TimeSource.SERVER,
            "ü" * 300,
            "heat",
        ),
    ]
