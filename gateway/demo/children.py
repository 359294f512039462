"""Child processes that cannot be left behind: each in its own process group, each ended when this process ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from types import FrameType

from gateway.core.errors import GatewayError

STOP_S = 7.0  # longer than the gateway takes for its own clean stop
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Stopped(Exception):
    """Somebody wants the demonstration to end."""


class Child:
    """One running program. What it says goes to ``<name>.out`` and ``<name>.log`` in the folder."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        environ: Mapping[str, str],
        last_words: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.output, self.log = folder / f"{name}.out", folder / f"{name}.log"
        with self.output.open("wb") as output, self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=environ,
                process_group=0,  # Ctrl-C reaches only us; we end the others, in order
                preexec_fn=_dies_with(os.getpid(), last_words),  # this process has one thread only
            )

    def check(self) -> None:
        """Raise GatewayError with its last words where it has ended."""
        code = self._process.poll()
        if code is not None:
            last = self.log.read_text(errors="replace").strip().splitlines()[-5:]
            raise GatewayError(f"the {self.name} ended with exit code {code}: {' | '.join(last) or 'it said nothing'}")

    def stop(self) -> int:
        """Ask it to end, kill it where it does not; its exit code."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
        return self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _dies_with(parent: int, number: signal.Signals) -> Callable[[], None] | None:
    """What the child does before it becomes the program: ask the kernel for a signal when its parent is gone."""
    libc = _LIBC
    if libc is None:
        return None

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it was gone before we asked
            os._exit(1)

    return ask


class Until:
    """Waits that end early when somebody wants the demonstration to end, or when a child is gone."""

    def __init__(self) -> None:
        self.stop = Event()
        self.children: list[Child] = []
        self.meanwhile: list[Callable[[], None]] = []  # what else wants to be done; each returns at once

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGHUP end the waits while inside."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            self.stop.set()

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, handle) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def true(self, condition: Callable[[], bool], deadline_s: float, what: str) -> None:
        """Return when ``condition()`` holds. Raises Stopped, or GatewayError after the deadline."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > deadline:
                raise GatewayError(f"{what} within {deadline_s:.0f} s")
            self.pause(0.05)

    def pause(self, seconds: float) -> None:
        """Let time pass. Raises Stopped, or GatewayError where a child has ended."""
        until = time.monotonic() + seconds
        while True:
            if self.stop.wait(max(0.0, min(0.05, until - time.monotonic()))):
                raise Stopped
            for child in self.children:
                child.check()
            for work in self.meanwhile:
                work()
            if time.monotonic() >= until:
                return
