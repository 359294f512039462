"""A foreign OPC UA server (node-opcua on Node.js) as a child process; installed by npm at its first use."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.node_packages import install
from tests.support.processes import Process, ProcessFailed, program, run_process

HOME = Path(__file__).parent / "node_opcua"
URI = "urn:test:foreign"
USERNAME, PASSWORD = "reader", "secret"
FIRST_START_S = 240.0  # it makes its keys at the first start


@dataclass(frozen=True, slots=True)
class ForeignServer:
    """A running node-opcua server."""

    process: Process
    port: int
    certificate: Path  # PEM


@asynccontextmanager
async def foreign_server(**options: Any) -> AsyncIterator[ForeignServer]:
    """A server with ``options`` (see server.js) until the block is left."""
    await install(HOME, "node-opcua")
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
    asyncio.run(install(HOME, "node-opcua"))
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
