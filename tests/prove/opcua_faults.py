"""F15, F18, F19 over OPC UA: what can happen to a server and to the way there, and how soon values come again.

A foreign server (node-opcua) that is asked for protection, a TCP proxy before it, and the real gateway as a process.
Each fault is done several times. It must be noticed, as a conversation that failed; values are back when every tag has
a good one of a source time after the end of the fault. ``python -m tests.prove.opcua_faults 20`` does each 20 times
and prints a table; names of faults behind it choose some.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.opcua.trust import thumbprint_of
from tests.prove.proof import Progress
from tests.support.opcua_certificates import ServerCertificate, pem
from tests.support.opcua_foreign import URI, ForeignServer, foreign_server
from tests.support.processes import free_port, gateway_command, run_process, run_to_end
from tests.support.proxy import Proxy

RUNS = 3
HOLD_S = 10.0  # of those faults that last
BACK_S = 10.0
PATIENCE_S = 60.0
TAGS = 20
SERVER_URI = "urn:test:foreign-server"


@dataclass(slots=True)
class Plant:
    """A foreign server that can be hurt, the way to it, and the gateway that reads it."""

    folder: Path
    client: httpx.AsyncClient
    proxy: Proxy = field(default_factory=lambda: Proxy(free_port()))
    api_port: int = field(default_factory=free_port)
    certificate: ServerCertificate = field(default_factory=lambda: ServerCertificate(uri=SERVER_URI))
    server: ForeignServer | None = None
    _running: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    # ------------------------------------------------------------------------------------------------- server

    async def start_server(self) -> None:
        """Until it listens."""
        chain, private = self.folder / "server.pem", self.folder / "server.key"
        chain.write_bytes(self.certificate.certificate.public_bytes(Encoding.PEM))
        private.write_bytes(pem(self.certificate.key))
        options = {"port": self.proxy.target_port, "counters": TAGS, "counting": TAGS, "counterMs": 100}
        running = foreign_server(**options, certificateFile=str(chain), privateKeyFile=str(private))
        self.server = await self._running.enter_async_context(running)

    async def stop_server(self) -> None:
        """As a power cut would."""
        if self.server is not None:
            await self.server.process.kill()
        await self._running.aclose()
        self.server = None

    def signal(self, number: signal.Signals) -> None:
        assert self.server is not None
        self.server.process.send(number)

    # ------------------------------------------------------------------------------------------------ gateway

    def gateway(self) -> contextlib.AbstractAsyncContextManager[Any]:
        """``pilot-gateway serve``, as it comes out of the box but for the period."""
        tags = [{"name": f"t{n}", "node": f"nsu={URI};s=Counter{n}", "kind": "int"} for n in range(TAGS)]
        link = {
            "id": "plc",
            "type": "opcua",
            "endpoint": f"opc.tcp://127.0.0.1:{self.proxy.port}/foreign",
            "security": {"policy": "Basic256Sha256"},
            "pki": str(self.folder / "pki"),
            "devices": [{"id": "reactor", "period_s": 0.2, "tags": tags}],
        }
        (self.folder / "lines").mkdir()
        (self.folder / "lines" / "pl1.yaml").write_text(yaml.safe_dump({"line": "pl1", "links": [link]}))
        file = self.folder / "gateway.yaml"
        journal = {"directory": str(self.folder / "journal"), "max_size_mb": 64}
        settings = {"gateway": "gw1", "site": "wuxi", "journal": journal, "sinks": {}, "api": {"port": self.api_port}}
        file.write_text(yaml.safe_dump(settings))
        return run_process(*gateway_command("serve", "--config", str(file)), port=self.api_port, name="pilot-gateway")

    async def trust(self) -> None:
        """What the refusal asks a person to do."""
        thumbprint = thumbprint_of(self.certificate.certificate)
        command = gateway_command("certs", "trust", thumbprint, "--pki", str(self.folder / "pki"))
        done = await run_to_end(*command)
        assert done.code == 0, done.stderr

    async def ask(self, what: str) -> dict[str, Any]:
        answer = await self.client.get(f"http://127.0.0.1:{self.api_port}/api/v1/{what}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def link(self) -> dict[str, Any]:
        """The state of the link."""
        (link,) = (await self.ask("status"))["links"]
        state: dict[str, Any] = link
        return state

    async def until_link(self, condition: Callable[[dict[str, Any]], object], what: str) -> None:
        begin = time.monotonic()
        while not condition(link := await self.link()):
            assert time.monotonic() - begin < PATIENCE_S, f"not within {PATIENCE_S:g} s: {what}; {link}"
            await asyncio.sleep(0.05)

    async def until_values(self, since_ms: float) -> None:
        """Until every tag has a good value that is newer."""
        begin = time.monotonic()
        while True:
            (device,) = (await self.ask("live"))["devices"]
            if all(tag["quality"] == "good" and tag["time"] > since_ms for tag in device["tags"]):
                return
            waited = time.monotonic() - begin
            assert waited < PATIENCE_S, f"no values within {PATIENCE_S:g} s: {(await self.link())['error']}"
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def plant(folder: Path) -> AsyncIterator[Plant]:
    """With values coming."""
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=10, trust_env=False))
        made = Plant(folder, client)
        stack.push_async_callback(made.stop_server)
        await made.proxy.accept()
        stack.push_async_callback(made.proxy.close)
        await made.start_server()
        gateway = await stack.enter_async_context(made.gateway())
        await made.until_link(lambda link: "not trusted yet" in (link["error"] or ""), "the stranger is refused")
        await made.trust()
        await made.until_values(0)
        yield made
        assert await gateway.stop() == 0


# ------------------------------------------------------------------------------------------------------- faults


async def killed(there: Plant) -> None:
    await there.stop_server()
    await asyncio.sleep(HOLD_S / 3)
    await there.start_server()


async def frozen(there: Plant) -> None:
    there.signal(signal.SIGSTOP)
    await asyncio.sleep(HOLD_S)
    there.signal(signal.SIGCONT)


async def network_cut(there: Plant) -> None:
    there.proxy.blackhole()
    await asyncio.sleep(HOLD_S)
    there.proxy.reset()  # the way is back, and knows nothing of the old connections
    there.proxy.pass_on()


async def certificate_changed(there: Plant) -> None:
    await there.stop_server()
    there.certificate = ServerCertificate(uri=SERVER_URI)
    await there.start_server()
    thumbprint = thumbprint_of(there.certificate.certificate)
    await there.until_link(lambda link: thumbprint in (link["error"] or ""), "the new certificate is refused")
    await there.trust()


async def session_deleted(there: Plant) -> None:
    there.signal(signal.SIGUSR2)


async def subscription_deleted(there: Plant) -> None:
    there.signal(signal.SIGHUP)


Fault = Callable[[Plant], Awaitable[None]]
FAULTS: tuple[Fault, ...] = (
    killed,
    frozen,
    network_cut,
    certificate_changed,
    session_deleted,
    subscription_deleted,
)


async def measure(folder: Path, runs: int, say: Progress, faults: Sequence[Fault] = FAULTS) -> dict[str, list[float]]:
    """Seconds from the end of each fault until every tag has a value of after it."""
    took: dict[str, list[float]] = {fault.__name__: [] for fault in faults}
    async with plant(folder) as there:
        boot = (await there.ask("status"))["boot"]
        for number in range(runs):
            for fault in faults:
                say(f"{fault.__name__} {number + 1} of {runs}")
                connects = (await there.link())["connects"]
                await fault(there)
                end, end_ms = time.monotonic(), time.time() * 1000
                what = f"{fault.__name__} is noticed"
                await there.until_link(lambda link, before=connects: link["connects"] > before, what)  # type: ignore[misc]
                await there.until_values(end_ms)
                took[fault.__name__].append(time.monotonic() - end)
        assert (await there.ask("status"))["boot"] == boot, "the gateway was started again"
    return took


def table(took: Mapping[str, list[float]]) -> str:
    """One line per fault."""
    lines = [f"{'fault':22} {'runs':>4} {'back in time':>12} {'median s':>9} {'worst s':>8}"]
    for name, seconds in took.items():
        in_time = sum(each <= BACK_S for each in seconds)
        middle = sorted(seconds)[len(seconds) // 2]
        lines.append(f"{name.replace('_', ' '):22} {len(seconds):4} {in_time:12} {middle:9.1f} {max(seconds):8.1f}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """The exit code."""
    runs = int(arguments[0]) if arguments else RUNS
    faults = [fault for fault in FAULTS if fault.__name__ in arguments[1:]] or FAULTS
    folder = Path(tempfile.mkdtemp(prefix="prove-recovery-opcua-"))
    try:
        took = asyncio.run(measure(folder, runs, Progress("recovery-opcua"), faults))
    finally:
        shutil.rmtree(folder)
    print(table(took))  # noqa: T201
    return 0 if all(each <= BACK_S for seconds in took.values() for each in seconds) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
