"""Runs the foreign Modbus server on Node.js, ``node_modbus/server.js``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import program

HOME = Path(__file__).parent / "node_modbus"
PACKAGE = "modbus-serial"


@contextmanager
def serving(*arguments: str) -> Iterator[int]:
    """The server's port, while it runs; its packages are installed."""
    command = (program("setpriv"), "--pdeathsig", "KILL", "--", program("node"), "server.js", *arguments)
    with subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the server ended before it listened"
            yield int(line)
        finally:
            process.kill()
