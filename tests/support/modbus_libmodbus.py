"""Compiles and runs the foreign Modbus server, ``libmodbus_server.c``."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("libmodbus_server.c")


def compile_server(folder: Path) -> Path:
    """The program. Fails the test, with the name of the package, where something is missing."""
    for program, package in (("cc", "gcc"), ("pkg-config", "pkg-config")):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is missing: apt install {package}")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True)
    if flags.returncode:
        pytest.fail("libmodbus is missing: apt install libmodbus-dev")
    program_file = folder / "libmodbus_server"
    built = subprocess.run(
        ["cc", "-Wall", "-Wextra", "-Werror", "-O1", "-o", str(program_file), str(SOURCE), *flags.stdout.split()],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return program_file


@contextmanager
def serving(program: Path, *arguments: str) -> Iterator[int]:
    """The server's port, while it runs."""
    with subprocess.Popen([str(program), *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the server ended before it listened"
            yield int(line)
        finally:
            process.kill()


@contextmanager
def serving_rtu(program: Path, port: str) -> Iterator[None]:
    """The server at a serial port, as unit 1, while it runs."""
    with subprocess.Popen([str(program), "rtu", port], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "0\n", "the server ended before it listened"
            yield
        finally:
            process.kill()
