"""Watches the wall clock: times of readings come from it, schedules do not.

In: the wall clock against the monotonic one, once a second, and what the kernel knows of its synchronisation. Out:
ClockHealth, and a line in the log with every step. Nothing is held back: a reading with a doubtful time is worth more
than none, and what was doubtful about it can be seen.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.core.clock import Clock
from gateway.health import ClockHealth

log = logging.getLogger("gateway.clock")

LOOK_NS = 1_000_000_000
STEP_NS = 2_000_000_000
"""So much between two looks is a step. Kernels slew by 0.05 % at most: 0.5 ms a second."""
ASK_EVERY = 10  # looks between two questions to the kernel

STA_UNSYNC, STA_NANO, TIME_ERROR = 0x0040, 0x2000, 5  # linux/timex.h


@dataclass(frozen=True, slots=True)
class Synchronisation:
    """What the kernel says of its clock."""

    synchronised: bool
    offset_s: float  # what it still has to correct


async def watch_clock(
    health: ClockHealth, clock: Clock, ask_kernel: Callable[[], Synchronisation | None] | None = None
) -> None:
    """Look for ever."""
    ask = ask_kernel or synchronisation
    wall, monotonic = clock.time_ns(), clock.monotonic_ns()
    looks = 0
    while True:
        if looks % ASK_EVERY == 0:
            _judge(health, ask())
        looks += 1
        await clock.sleep_until(monotonic + LOOK_NS)
        now_wall, now = clock.time_ns(), clock.monotonic_ns()
        step_ns = (now_wall - wall) - (now - monotonic)
        if abs(step_ns) > STEP_NS:
            _step(health, step_ns, now_wall)
            looks = 0  # whoever set it has most likely synchronised it too
        wall, monotonic = now_wall, now


def _step(health: ClockHealth, step_ns: int, now_ns: int) -> None:
    health.steps += 1
    health.last_step_s = round(step_ns / 1e9, 3)
    health.last_step_ns = now_ns
    log.warning(
        "the clock of this machine was set by %+.1f s; polling goes on, readings carry the new time",
        step_ns / 1e9,
        extra={"step_s": health.last_step_s, "now": _text(now_ns)},
    )


def _judge(health: ClockHealth, found: Synchronisation | None) -> None:
    before = health.synchronised
    health.synchronised = found.synchronised if found else None
    health.offset_s = found.offset_s if found and found.synchronised else None
    if health.synchronised is False and before is not False:
        log.warning("the clock of this machine is not synchronised: times of readings may be wrong; see chrony or NTP")
    elif health.synchronised and before is False:
        log.info("the clock of this machine is synchronised")


def _text(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).isoformat()


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2), as long as the longest of all machines."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("_rest", ctypes.c_byte * 256),
    ]


def synchronisation() -> Synchronisation | None:
    """Ask the kernel (adjtimex, which with modes 0 only reads); None where it does not say."""
    if not sys.platform.startswith("linux"):
        return None
    timex = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):  # no such function in this C library
        return None
    if state < 0:
        return None
    per_s = 1e9 if timex.status & STA_NANO else 1e6
    return Synchronisation(state != TIME_ERROR and not timex.status & STA_UNSYNC, timex.offset / per_s)
