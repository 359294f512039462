"""Time that nobody has to wait for: a loop whose clock stands still while anything happens, and then jumps.

For tests in which both ends of a conversation live in this process. A timeout runs out when everybody is silent, never
because the machine is slow; and it costs a moment, however long it is. In: the coroutine of a test. Out: a test.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import wraps
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack

MOMENTS = 20  # that a busy machine may oversleep
QUIET_S = 0.05  # real time without a byte after which nothing is on its way any more, inside this machine

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def hurried(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The test on such a loop; a task that it leaves behind fails it."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=HurriedLoop) as runner:
            runner.run(_watched(test(*args, **kwargs)))

    return run


class HurriedLoop(asyncio.SelectorEventLoop):
    """An event loop with such a clock."""

    def __init__(self) -> None:
        self._quiet = _Selector()
        super().__init__(self._quiet)

    def time(self) -> float:
        """Seconds since it was made, as far as it has jumped."""
        return self._quiet.now_s

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Threads take their time: until they are done it passes as everywhere."""
        future = super().run_in_executor(executor, func, *args)
        self._quiet.threads += 1
        future.add_done_callback(self._quiet.thread_done)
        return future


class _Selector(selectors.DefaultSelector):
    """Waits a moment for whoever has something to say; if nobody has, the time of the next timer has come."""

    now_s = 0.0
    threads = 0  # at work, and nobody knows for how long

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(timeout) if not timeout or self.threads else self._listen(min(timeout, QUIET_S))
        if not events and timeout:
            self.now_s += timeout
        return events

    def _listen(self, patience_s: float) -> list[tuple[selectors.SelectorKey, int]]:
        """What comes within a moment; where the machine overslept, others were held up as well: another moment."""
        for _ in range(MOMENTS):
            begin_s = time.monotonic()
            events = super().select(patience_s)
            if events or time.monotonic() - begin_s < patience_s + QUIET_S:
                return events
        return []

    def thread_done(self, future: object) -> None:
        self.threads -= 1


async def _watched(test: Coroutine[Any, Any, None]) -> None:
    await test
    for _ in range(3):  # what was cancelled or told to end a moment ago gets to do so
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"left behind: {', '.join(str(task) for task in left)}"
