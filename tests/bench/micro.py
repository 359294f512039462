"""The pure steps of the way of a value, one by one: where each microsecond goes.

Every step works on the same noisy float32 as the farm serves, a fresh scan each time, so that no cache of values could
help. The figure is the best of several rounds: what the step costs when nothing else disturbs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

from drivers.modbus.decode import Decoder
from drivers.modbus.options import Address, Limits, Order, Type
from drivers.modbus.plan import addresses_of, plan
from gateway.core.model import Device, Kind, Scan, Tag, groups
from gateway.core.text import speed_up
from gateway.journal import codec
from gateway.normalise import Normaliser
from gateway.sinks.line_protocol import LineEncoder
from gateway.sinks.mqtt_payload import DataEncoder
from tests.bench.farm import make_images
from tests.bench.measure import calibration_ns

TAGS = 200
COMMIT_GROUP = 50  # batches: the reference at 10 Hz, ten commits a second
ROUNDS = 15
TURNS = 200


@dataclass(frozen=True, slots=True)
class Step:
    """One step and what it cost."""

    name: str
    us_per_value: float


def steps() -> list[Step]:
    """Measure every step, in the order of the way."""
    speed_up()
    device = Device(
        "bench",
        "farm",
        "d000",
        tuple(
            Tag(f"t{i:03d}", Kind.FLOAT, Address(3, 2 * i, 2, Type.FLOAT32, Order.BIG, Order.BIG, 0, ()), unit="Cel")
            for i in range(TAGS)
        ),
    )
    (group,) = groups(device)
    blocks = plan(addresses_of(group), Limits())
    images = [bytes(image) for image in make_images(TAGS, random.Random(1))]
    answers = [[image[2 * block.start : 2 * (block.start + block.count)] for block in blocks] for image in images]
    decoder = Decoder(addresses_of(group), [tag.kind for tag in group.tags], blocks)
    normaliser = Normaliser(device, "0000000a")

    decoded = [decoder.decode(answer)[0] for answer in answers]
    scans = [_scan(device, number, values) for number, values in enumerate(decoded)]
    batches = [batch for scan in scans if (batch := normaliser(scan)) is not None]
    group_of_batches = batches[:COMMIT_GROUP]
    sources = codec.Sources()
    blob = codec.encode(group_of_batches, sources)
    payloads, lines = DataEncoder("bench"), LineEncoder("reading")

    next_answer, next_scan, next_batch = cycle(answers).__next__, cycle(scans).__next__, cycle(batches).__next__
    return [
        Step("decode: registers to values", _time(lambda: decoder.decode(next_answer()), TAGS)),
        Step("normalise: scan to batch, text rendered", _time(lambda: normaliser(next_scan()), TAGS)),
        Step(
            "journal: batches to compressed row",
            _time(lambda: codec.encode(group_of_batches, sources), TAGS * COMMIT_GROUP, turns=10),
        ),
        Step(
            "journal: compressed row to batches",
            _time(lambda: codec.decode(blob, sources), TAGS * COMMIT_GROUP, turns=10),
        ),
        Step("mqtt: batch to JSON", _time(lambda: payloads.encode(next_batch(), False), TAGS)),
        Step("influxdb: batch to lines", _time(lambda: lines.encode(next_batch()), TAGS)),
    ]


def _scan(device: Device, number: int, values: tuple[float | int | bool | str | None, ...]) -> Scan:
    time_ns = 1_700_000_000_000_000_000 + number * 100_000_000
    return Scan(device, tuple(range(TAGS)), values, None, time_ns, time_ns + 1_000_000)


def _time(step: Callable[[], object], values: int, turns: int = TURNS) -> float:
    """µs per value of one call that handles so many values."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.perf_counter_ns()
        for _ in range(turns):
            step()
        best = min(best, time.perf_counter_ns() - begin)
    return best / turns / values / 1000


def main() -> None:
    turn_ns = calibration_ns()
    print(f"µs per value, {TAGS} float32 a scan; one turn of the calibration loop: {turn_ns:.0f} ns")
    total = 0.0
    for step in steps():
        total += step.us_per_value
        print(f"  {step.name:<42} {step.us_per_value:6.3f}  {step.us_per_value * 1000 / turn_ns:5.2f} turns")
    print(f"  {'all of them':<42} {total:6.3f}  {total * 1000 / turn_ns:5.2f} turns")
