"""The same as ``load``, in a process of its own: ten thousand tags take seconds, in which no poll may be late.

::

    gateway ── starts ──> python: main(FILE) ── load ── pieces ──> gateway

A thread would not do: it shares the interpreter lock with the event loop, which then waits for it some milliseconds at
every system call. The result comes as pickles, one per device and then the rest, and whoever puts them together rests
between them. Pickles are read from our own child only.
"""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from gateway.core.errors import ConfigError, Mistake
from gateway.core.model import Device
from gateway.settings.load import load
from gateway.settings.model import Settings

DEADLINE_S = 120.0
_REST = 1.0  # so long as a piece took, the event loop has the lock for itself


def load_apart(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """See ``load``; blocks, so call it in a thread. Raises ConfigError, also where the process does not do it."""
    environ = os.environ if environ is None else environ
    own_modules = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", f"import sys; from {__name__} import main; main(sys.argv[1])", str(path)]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command,
            env={**environ, **own_modules},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(path, f"took more than {DEADLINE_S:.0f} s") from error
    except OSError as error:
        raise _failed(path, f"could not be started: {error.strerror}") from error
    if done.returncode:
        raise _failed(path, f"ended with code {done.returncode}; its last words stand in the log before this")
    return _together(io.BytesIO(done.stdout), _rest)


def _failed(path: Path, why: str) -> ConfigError:
    return ConfigError([Mistake(str(path), 0, "", f"the process that reads the configuration {why}")])


def _rest(took_s: float) -> None:
    time.sleep(_REST * took_s)


# ------------------------------------------------------------------------------------------------- to and fro


class _Apart(pickle.Pickler):
    """Leaves devices out and numbers them."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.devices: dict[int, Device] = {}

    def persistent_id(self, obj: object) -> int | None:
        if not isinstance(obj, Device):
            return None
        self.devices[id(obj)] = obj
        return id(obj)


def _pieces(settings: Settings) -> bytes:
    """For each device its number and itself, then None, then the rest."""
    rest = io.BytesIO()
    apart = _Apart(rest)
    apart.dump(settings)
    devices = [pickle.dumps(piece, pickle.HIGHEST_PROTOCOL) for piece in apart.devices.items()]
    return b"".join([*devices, pickle.dumps(None), rest.getvalue()])


def _together(file: BinaryIO, rest: Callable[[float], None]) -> Settings:
    """What ``_pieces`` took apart. Raises ConfigError where there are mistakes instead."""
    devices: dict[int, Device] = {}

    class Together(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Device:
            return devices[pid]

    while True:
        begin = time.monotonic()
        piece = pickle.load(file)  # noqa: S301 - of our own child
        match piece:
            case int(number), Device() as device:
                devices[number] = device
            case "mistakes", mistakes:
                raise ConfigError(mistakes)
            case _:
                settings: Settings = Together(file).load()
                return settings
        rest(time.monotonic() - begin)


def main(path: str) -> None:
    """In the process: load, and write the pieces to standard output."""
    try:
        found = _pieces(load(path))
    except ConfigError as error:
        found = pickle.dumps(("mistakes", error.mistakes))
    sys.stdout.buffer.write(found)
