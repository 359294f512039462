"""M1: the whole gateway killed at random moments, with both sinks, checked against what the instruments said.

The oracle is CountingModbus: the n-th answer of a unit holds the values n + i/64 and nothing else ever does. Accepted
is what the gateway's own API said before the kill. Broker or database are frozen in a third of the lives each, so that
writes are under way when the kill comes; a fifth of the lives end while the gateway still starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gateway.sinks.options import MqttOptions
from tests.prove.proof import Progress, Proof, Reached
from tests.support.counting_modbus import as_float32
from tests.support.stand import TAGS, Stand, stand

CYCLES, QUICK_CYCLES = 20, 3
CONTROL_CYCLES = 2
WINDOW = 5 * int(MqttOptions.model_fields["window"].default)  # records of one write: MqttSink.window
EARLY = "tests.support.early_gateway"


@dataclass(slots=True)
class Found:
    """What was there after the last life."""

    accepted: int = 0  # records, by the journal's own account
    kills: list[int] = field(default_factory=list)  # per kill: records that were accepted by then, as last heard
    published: int = 0  # records that came over MQTT, repeats left out
    repeats: int = 0  # most repeats of the records of one life
    missing: int = 0  # readings that MQTT has and the database has not
    visible: int = 0  # points of the database that share series and time with another of a different value
    faults: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Records that were accepted and did not come."""
        return max(self.accepted, *self.kills, 0) - self.published


async def lives(line: Stand, cycles: int, generator: random.Random, say: Progress, module: str = "gateway") -> Found:
    """So many lives that end with a kill, and one that delivers the rest."""
    found = Found()
    for cycle in range(cycles):
        say(f"{module}: life {cycle + 1} of {cycles}")
        found.kills.append(await _live_and_die(line, generator, module))
    async with line.gateway(module=module) as gateway:
        try:
            await line.answered(3)
            await line.drained()
        except AssertionError as error:
            raise AssertionError(f"{error}; the gateway said:\n{gateway.output[-3000:]}") from error
        found.accepted = (await line.status())["journal"]["accepted_records"]
        if await gateway.stop():
            found.faults.append("the last life did not end cleanly")
    await _compare(line, found)
    return found


async def _live_and_die(line: Stand, generator: random.Random, module: str) -> int:
    """One life; gives the accepted records that it told of last."""
    accepted = 0
    ill = generator.choice((None, line.broker, line.database))
    starting = generator.random() < 0.2
    async with line.gateway(module=module, ready=None if starting else "ready$") as gateway:
        if not starting:
            await line.answered(1)
        loop = asyncio.get_running_loop()
        end = loop.time() + generator.uniform(0.1, 2.5)
        freeze_at = end - generator.uniform(0.2, 1.5)
        while loop.time() < end:
            if ill and loop.time() > freeze_at:
                ill.freeze()
            with contextlib.suppress(httpx.HTTPError):  # it may not listen yet
                accepted = max(accepted, (await line.status())["journal"]["accepted_records"])
            await asyncio.sleep(0.01)
        await gateway.kill()
    line.broker.thaw()
    line.database.thaw()
    return accepted


async def _compare(line: Stand, found: Found) -> None:
    messages = line.messages()
    copies = Counter((m["device"], m["boot"], m["seq"]) for m in messages)
    found.published = len(copies)
    repeats = Counter[str]()
    for (_, boot, _), count in copies.items():
        repeats[boot] += count - 1
    found.repeats = max(repeats.values(), default=0)
    found.faults += unbroken(messages)
    stored = await line.in_database()
    points = {key: set(rows) for key, rows in stored.items()}
    found.visible = sum(len(rows) - len({time for time, _ in rows}) for rows in points.values())
    for key, rows in line.in_mqtt().items():
        there = points.get(key, set())
        found.missing += len(set(rows) - there)
        if there - set(rows):
            found.faults.append(f"the database has {len(there - set(rows))} points of {key} that MQTT has not")


def unbroken(messages: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the messages of each life: numbers that are missing, values that the instrument never said."""
    faults = []
    lives: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for message in messages:
        lives.setdefault((message["device"], message["boot"]), {})[message["seq"]] = message["values"]
    for (device, boot), by_seq in lives.items():
        if sorted(by_seq) != list(range(1, len(by_seq) + 1)):
            faults.append(f"{device} misses messages of life {boot}")
        answers = [values for _, values in sorted(by_seq.items()) if values]
        numbers = [values["t0"] for values in answers]
        if numbers != [numbers[0] + i for i in range(len(numbers))]:
            faults.append(f"{device} of life {boot}: answers left out or out of order")
        # what a float32 instrument says is published as its shortest decimal
        said = [{name: as_float32(value) for name, value in values.items()} for values in answers]
        if any(values != {f"t{i}": values["t0"] + i / 64 for i in range(TAGS)} for values in said):
            faults.append(f"{device} of life {boot}: a value under a wrong tag")
    return faults


async def _control(folder: Path, say: Progress) -> Found:
    """Lives with the one thing broken. Whether a kill falls into the wrong moment is chance, so it is tried again."""
    control = Found()
    for seed in range(3, 9):
        place = folder / f"control-{seed}"
        place.mkdir()
        async with stand(place) as line:
            control = await lives(line, 2, random.Random(seed), say, EARLY)
        if control.missing:
            break
    return control


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    sound = folder / "sound"
    sound.mkdir()
    async with stand(sound) as line:
        found = await lives(line, QUICK_CYCLES if quick else CYCLES, random.Random(1), say)
    control = await _control(folder, say)
    kept = not (found.lost or found.missing or found.visible or found.faults) and found.repeats <= WINDOW
    text = (
        f"{len(found.kills)} kills, {found.accepted:,} records ({found.accepted * TAGS:,} readings) accepted, "
        f"{found.lost} lost, at most {found.repeats} records sent again after a kill (a window is {WINDOW}), "
        f"{found.missing} missing in the database, {found.visible} duplicates visible there"
    )
    return Reached(
        "; ".join([text, *found.faults]),
        kept,
        f"cursor moved before the database acknowledged: {control.missing:,} readings missing there",
        control.missing > 0,
    )


PROOF = Proof(
    "gateway-kill",
    "kill -9 of the whole gateway with both sinks, against an oracle",
    "20 kills, 0 accepted readings lost, duplicates ≤ one window, none visible in the database",
    prove,
)
