"""One thread for what only exists as a blocking call: name look-up, TLS handshake, an HTTP request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

Result = TypeVar("Result")


class Worker:
    """Calls functions one after the other in a thread of its own, which starts with the first call.

    A daemon thread, unlike those of concurrent.futures: a look-up that hangs in the resolver for a minute, which no
    time limit reaches, must not hold up the end of the process.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None

    async def call(self, function: Callable[[], Result]) -> Result:
        """Run it in the thread and give what it returns or raises. Cancelling leaves the function running."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()

        def run() -> None:
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to whoever awaits the call
                _tell(loop, future, future.set_exception, error)
            else:
                _tell(loop, future, future.set_result, result)

        if self._thread is None:
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._calls.put(run)
        return await future

    def stop(self) -> None:
        """Let the thread end after the call it is in; nothing waits for it."""
        self._calls.put(None)

    def _work(self) -> None:
        while (run := self._calls.get()) is not None:
            run()


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], settle: Callable[[Any], None], what: Any
) -> None:
    def set_unless_cancelled() -> None:
        if not future.done():
            settle(what)

    with suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
        loop.call_soon_threadsafe(set_unless_cancelled)
