"""What the kernel says a process has used, and how fast this machine is right now."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import descendants

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """A process with everything it has started, since its start; memory as it stands."""

    user_s: float
    system_s: float
    main_thread_s: float  # the first thread alone: where the event loop runs
    rss_mb: float
    written_mb: float  # handed to the disk

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s

    def since(self, before: Usage) -> Usage:
        """What was used between two looks."""
        return Usage(
            self.user_s - before.user_s,
            self.system_s - before.system_s,
            self.main_thread_s - before.main_thread_s,
            self.rss_mb,
            self.written_mb - before.written_mb,
        )


def usage(pid: int) -> Usage:
    """Of a process and of what it has started; children that have ended and were waited for count too."""
    user = system = rss = written = 0.0
    for each in (pid, *descendants(pid)):
        with suppress(FileNotFoundError, ProcessLookupError):  # a child that has just ended
            root = Path(f"/proc/{each}")
            times = [int(ticks) * TICK_S for ticks in _stat(root)[11:15]]
            user += times[0] + times[2]
            system += times[1] + times[3]
            rss += _kilobytes(root, "VmRSS") / 1024
            with suppress(PermissionError):
                written += _written(root) / 1e6
    main = sum(int(ticks) * TICK_S for ticks in _stat(Path(f"/proc/{pid}/task/{pid}"))[11:13])
    return Usage(user, system, main, rss, written)


def peak_rss_mb(pid: int) -> float:
    """The most memory the process itself has had."""
    return _kilobytes(Path(f"/proc/{pid}"), "VmHWM") / 1024


def calibration_ns() -> float:
    """Nanoseconds that one turn of a fixed Python loop takes: best of several, so that what else runs matters little.

    A figure in µs per value divided by this compares between machines; the figure alone does not.
    """
    turns = 20_000
    best = float("inf")
    for _ in range(9):
        begin = time.perf_counter_ns()
        table: dict[int, str] = {}
        total = 0.0
        for i in range(turns):
            total += i * 0.5
            table[i & 255] = str(i)
        best = min(best, time.perf_counter_ns() - begin)
    return best / turns


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0…1) of the values lie; NaN of none.

    >>> percentile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def _stat(root: Path) -> list[str]:
    """The fields of stat from the state on: [11:15] are utime, stime, cutime, cstime."""
    return (root / "stat").read_text().rpartition(")")[2].split()


def _kilobytes(root: Path, name: str) -> int:
    for row in (root / "status").read_text().splitlines():
        if row.startswith(f"{name}:"):
            return int(row.split()[1])
    return 0  # a process that is ending has no memory any more


def _written(root: Path) -> int:
    for row in (root / "io").read_text().splitlines():
        if row.startswith("write_bytes:"):
            return int(row.split()[1])
    return 0
