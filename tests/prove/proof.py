"""What a proof is: a promise, the figure it is held to, and a run that tells what was reached."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path


class NotPossible(Exception):
    """This machine does not allow it; the message says why."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What one run gave. ``control``: what the deliberately broken version did; empty where there is none."""

    text: str
    kept: bool
    control: str = ""
    control_failed: bool = True

    @property
    def proven(self) -> bool:
        """The promise was kept, and the harness has shown that it would have noticed."""
        return self.kept and self.control_failed


class Progress:
    """How far a proof is: one line that is written over on a terminal, else a line every ten seconds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said = time.monotonic()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K  {self._name}: {text}")
            sys.stderr.flush()
        elif now - self._said >= 10:
            self._said = now
            sys.stderr.write(f"  {self._name}: {text}\n")

    def end(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")


Run = Callable[[Path, bool, Progress], Awaitable[Reached]]
"""(empty folder, the short version?, where to tell how far it is) → what was reached. Raises NotPossible."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One row of the table."""

    name: str
    promise: str
    figure: str
    run: Run
