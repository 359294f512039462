"""What a simulated device can be made to do wrong.

In: a request and its right answer. Out: what is sent instead, and when.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

KINDS = ("silence", "late", "refuse", "garbage", "frozen", "sentinel")
KEYS = ("register", "code", "delay_s", "times")
OF_VALUES = ("frozen", "sentinel")  # those that change what stands in the registers, not what becomes of a request


@dataclass(slots=True)
class Fault:
    """One way to misbehave.

    ``silence``: no answer · ``late``: the answer comes ``delay_s`` later (slow, or too late) · ``refuse``: exception
    ``code`` · ``garbage``: bytes that are no answer · ``frozen``: values stand still ·
    ``sentinel``: every number that has a way to say "no value" says so. With ``register``: only requests that touch it.
    ``times``: after so many requests it is over; 0: never. The last two are of whole devices, until they are mended.
    """

    kind: str
    unit: int | None = None  # None: every one
    register: int | None = None
    code: int = 2
    delay_s: float = 0.0
    times: int = 0
    used: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind} is no fault; there are {', '.join(KINDS)}")

    def meets(self, request: bytes) -> bool:
        """Whether the request (unit, function, data) is one of those."""
        if self.kind in OF_VALUES or (self.times and self.used >= self.times):
            return False
        if self.unit is not None and request[0] != self.unit:
            return False
        if self.register is None:
            return True
        start, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        return start <= self.register < start + count


class Faults:
    """Those of one simulator; the one added last goes first.

    As in real life a unit answers one request after the other: behind a late answer the next ones are late, too.
    """

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._pending: set[asyncio.TimerHandle] = set()
        self._busy_until: dict[int, float] = {}  # unit → loop time of its last answer that is still to come
        self._random = random.Random(0)  # noqa: S311  # the same garbage every time

    def add(self, fault: Fault) -> None:
        self._faults.insert(0, fault)

    def clear(self) -> None:
        self._faults.clear()

    def close(self) -> None:
        """Forget the answers that are still to come."""
        for timer in self._pending:
            timer.cancel()
        self._pending.clear()
        self._busy_until.clear()

    def play(self, request: bytes, answer: bytes, send: Callable[[bytes, bool], None]) -> None:
        """Send the answer, or what a fault makes of it; ``send(answer, garbled)``."""
        fault = next((fault for fault in self._faults if fault.meets(request)), None)
        if fault is None:
            self._later(request[0], 0.0, lambda: send(answer, False))
            return
        fault.used += 1
        match fault.kind:
            case "refuse":
                send(bytes((request[0], request[1] | 0x80, fault.code)), False)
            case "garbage":
                send(self._random.randbytes(len(answer) + 4), True)
            case "late":
                self._later(request[0], fault.delay_s, lambda: send(answer, False))

    def _later(self, unit: int, delay_s: float, do: Callable[[], None]) -> None:
        if not delay_s and not self._busy_until:
            do()
            return
        loop = asyncio.get_running_loop()
        at = max(loop.time(), self._busy_until.get(unit, 0.0)) + delay_s

        def now() -> None:
            self._pending.discard(timer)
            if self._busy_until.get(unit) == at:
                del self._busy_until[unit]
            do()

        self._busy_until[unit] = at
        timer = loop.call_at(at, now)
        self._pending.add(timer)
