"""A foreign OPC UA server (node-opcua on Node.js) as a child process; installed by npm at its first use."""

from __future__ import annotations

import asyncio
import fcntl
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import Process, ProcessFailed, program, run_process, run_to_end

HOME = Path(__file__).parent / "node_opcua"
URI = "urn:test:foreign"
USERNAME, PASSWORD = "reader", "secret"
INSTALL_S, FIRST_START_S = 300.0, 240.0  # it makes its keys at the first start


@dataclass(frozen=True, slots=True)
class ForeignServer:
    """A running node-opcua server."""

    process: Process
    port: int
    certificate: Path  # PEM


async def install() -> None:
    """Install node-opcua where it is missing; fails, naming the package, where node or npm are."""
    program("node")
    npm = program("npm")
    with (HOME / "package.json").open() as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)  # two test runs at once
        if (HOME / "node_modules" / "node-opcua" / "package.json").exists():
            return
        done = await run_to_end(npm, "ci", "--no-audit", "--no-fund", deadline_s=INSTALL_S, cwd=HOME)
        if done.code:
            raise ProcessFailed(f"npm ci in {HOME} failed:\n{done.stdout}\n{done.stderr}")


@asynccontextmanager
async def foreign_server(**options: Any) -> AsyncIterator[ForeignServer]:
    """A server with ``options`` (see server.js) until the block is left."""
    await install()
    async with run_process(
        program("node"),
        "server.js",
        json.dumps(options),
        ready=r'^\{"port"',
        deadline_s=FIRST_START_S,
        name="node-opcua",
        cwd=HOME,
    ) as process:
        said = json.loads(next(line for line in process.lines if line.startswith('{"port"')))
        yield ForeignServer(process, said["port"], Path(said["certificate"]))


@dataclass(frozen=True, slots=True)
class SharedServer:
    """A running node-opcua server that belongs to no event loop, so that many tests can use it."""

    child: subprocess.Popen[str]
    port: int
    certificate: Path  # PEM


@contextmanager
def shared_server(**options: Any) -> Iterator[SharedServer]:
    """As ``foreign_server``, for fixtures of a whole module."""
    asyncio.run(install())
    command = (program("setpriv"), "--pdeathsig", "KILL", "--", program("node"), "server.js", json.dumps(options))
    child = subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert child.stdout is not None
        said = json.loads(next((line for line in child.stdout if line.startswith('{"port"')), "{}"))
        if not said:
            raise ProcessFailed(f"node-opcua ended before it listened: node server.js in {HOME} shows why")
        yield SharedServer(child, said["port"], Path(said["certificate"]))
    finally:
        child.terminate()
        child.communicate(timeout=10)
