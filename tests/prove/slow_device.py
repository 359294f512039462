"""A device that answers after two seconds: what does the period of all others say to that?

Twenty instruments on links of their own, polled ten times a second, and a slow one that is added to the running
gateway and taken away again. What each instrument sees counts: the time from one question to the next. The control puts
the slow one behind the same converter as one of the twenty, where the two must wait for each other.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.bench.measure import percentile
from tests.prove.proof import Progress, Proof, Reached
from tests.support.processes import Process, free_port, gateway_command, run_process
from tests.support.waiting import until

FAST, PERIOD_S, SLOW_S = 20, 0.1, 2.0
FAST_UNIT, SLOW_UNIT = 1, 2
LONGER = 1.05  # the p99 of the period with the slow device, over that without
WINDOW_S, QUICK_WINDOW_S = 15.0, 2.0
ROUNDS, QUICK_ROUNDS = 4, 1


@dataclass(slots=True)
class Instrument:
    """One Modbus TCP server: unit 1 answers at once, unit 2 late, each register its own number."""

    asked_s: list[float] = field(default_factory=list)  # monotonic times of the questions to unit 1
    slow_answers: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                transaction, _, _, unit, function, start, count = struct.unpack(
                    ">HHHBBHH", await reader.readexactly(12)
                )
                if unit == FAST_UNIT:
                    self.asked_s.append(time.monotonic())
                else:
                    await asyncio.sleep(SLOW_S)
                    self.slow_answers += 1
                data = struct.pack(f">{count}H", *range(start, start + count))
                writer.write(struct.pack(">HHHBBB", transaction, 0, 3 + len(data), unit, function, len(data)) + data)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def periods_ms(self, begin_s: float, end_s: float) -> list[float]:
        """Between any two questions in a row within that time."""
        within = [each for each in self.asked_s if begin_s <= each <= end_s]
        return [1000 * (b - a) for a, b in pairwise(within)]


@asynccontextmanager
async def instrument() -> AsyncIterator[Instrument]:
    it = Instrument()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(it.serve(reader, writer), name="instrument")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    it.port = server.sockets[0].getsockname()[1]
    try:
        yield it
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@dataclass(slots=True)
class Line:
    """A gateway that reads the instruments, and its files."""

    folder: Path
    fast: list[Instrument]
    slow: Instrument
    gateway: Process
    api: str

    async def reload(self, *, slow: bool, shared: bool = False) -> None:
        """Go on with or without the slow device, ``shared``: behind the converter of the first fast one."""
        before = await self._reloads()
        write(self.folder, self.fast, self.slow, slow_too=slow, shared=shared)
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            (await client.post(f"{self.api}/api/v1/reload")).raise_for_status()
        async with asyncio.timeout(30):
            while await self._reloads() == before:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)
        if slow:
            there = self.fast[0] if shared else self.slow
            answers = there.slow_answers
            await until(lambda: there.slow_answers > answers, "an answer of the slow device", 30)

    async def _reloads(self) -> int:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            status: dict[str, Any] = (await client.get(f"{self.api}/api/v1/status")).json()
        return int(status["configuration"]["reloads"])

    async def p99_ms(self, window_s: float, of: slice = slice(None)) -> float:
        """Of the periods of the fast instruments, from now on."""
        begin = time.monotonic()
        await asyncio.sleep(window_s)
        end = time.monotonic()
        return percentile([each for one in self.fast[of] for each in one.periods_ms(begin, end)], 0.99)


def write(folder: Path, fast: list[Instrument], slow: Instrument, *, slow_too: bool, shared: bool) -> None:
    """The line file."""
    tags = [{"name": f"t{i}", "register": 2 * i, "type": "float32"} for i in range(20)]

    def device(name: str, unit: int) -> dict[str, Any]:
        return {"id": name, "address": unit, "period_s": PERIOD_S, "tags": tags}

    def link(name: str, port: int, *devices: dict[str, Any]) -> dict[str, Any]:
        where = {"id": name, "type": "modbus-tcp", "host": "127.0.0.1", "port": port, "timeout_s": 3 * SLOW_S}
        return where | {"devices": list(devices)}

    links = [link(f"link{i}", each.port, device(f"fast{i}", FAST_UNIT)) for i, each in enumerate(fast)]
    if slow_too and shared:
        links[0]["devices"].append(device("slow", SLOW_UNIT))
    elif slow_too:
        links.append(link("slow", slow.port, device("slow", SLOW_UNIT)))
    (folder / "lines").mkdir(exist_ok=True)
    (folder / "lines" / "pl1.yaml").write_text(yaml.safe_dump({"line": "pl1", "links": links}))


@asynccontextmanager
async def line_of(folder: Path) -> AsyncIterator[Line]:
    async with AsyncExitStack() as stack:
        fast = [await stack.enter_async_context(instrument()) for _ in range(FAST)]
        slow = await stack.enter_async_context(instrument())
        port = free_port()
        write(folder, fast, slow, slow_too=False, shared=False)
        config = {"gateway": "gw1", "site": "s", "journal": {"directory": str(folder / "journal")}, "sinks": {}}
        file = folder / "gateway.yaml"
        file.write_text(yaml.safe_dump(config | {"api": {"port": port}}))
        gateway = await stack.enter_async_context(
            run_process(*gateway_command("serve", "--config", str(file)), ready="ready$", name="pilot-gateway")
        )
        await until(lambda: all(len(each.asked_s) > 20 for each in fast), "steady polls", 30)
        yield Line(folder, fast, slow, gateway, f"http://127.0.0.1:{port}")
        assert await gateway.stop() == 0


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    window_s, rounds = (QUICK_WINDOW_S, QUICK_ROUNDS) if quick else (WINDOW_S, ROUNDS)
    without, beside = list[float](), list[float]()
    async with line_of(folder) as line:
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            without.append(await line.p99_ms(window_s))
            await line.reload(slow=True)
            beside.append(await line.p99_ms(window_s))
            await line.reload(slow=False)
        await line.reload(slow=True, shared=True)
        one = await line.p99_ms(max(window_s, 4 * SLOW_S), slice(0, 1))
        answers = line.slow.slow_answers
    # the quietest of each: what else runs on this machine only ever adds to a period
    before, after = min(without), min(beside)
    text = (
        f"p99 of {FAST} devices at {1 / PERIOD_S:g} Hz {before:.1f} ms, with a device that answers after {SLOW_S:g} s "
        f"{after:.1f} ms ({100 * (after / before - 1):+.1f} %); {rounds} rounds of {window_s:g} s, the quietest of "
        f"each (without {_range(without)}, beside {_range(beside)}); {answers} slow answers"
    )
    control = f"the slow device behind the converter of a fast one: p99 of that one {one:.0f} ms"
    return Reached(text, after < LONGER * before and answers > 0, control, one > LONGER * before)


def _range(values: list[float]) -> str:
    return f"{min(values):.1f}-{max(values):.1f}"


PROOF = Proof(
    "slow-device",
    "a slow device is added, all others go on in their period",
    "p99 of the others' period < 5 % longer",
    prove,
)
