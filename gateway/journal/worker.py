"""One thread that does blocking work in order and answers on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class Worker:
    """Starts with the first job, ends with ``stop``. Used from one event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do this after what was asked for before; the future has what it returned or raised."""
        loop = asyncio.get_running_loop()
        if self._thread is None:
            # a daemon: a disk that never answers must not keep the process from ending
            self._thread = threading.Thread(target=self._work, args=(loop,), name=self._name, daemon=True)
            self._thread.start()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((work, future))
        return future

    def stop(self) -> None:
        """End when everything asked for is done."""
        self._jobs.put(None)
        self._thread = None

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while job := self._jobs.get():
            work, future = job
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 the one who waits gets it
                error = raised
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
