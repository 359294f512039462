"""Real processes for tests and benchmarks: started, waited for, stopped, never left behind.

``run_process`` starts a child in a process group of its own, waits until it says or shows that it is ready, and ends
the whole group whatever happens. ``run_to_end`` is for commands that end by themselves. Everything has a deadline.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the repository: what children run in unless told otherwise."""

PACKAGES = {
    "cc": "gcc",
    "influxd": "influxdb",
    "mosquitto_passwd": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
    "mosquitto_sub": "mosquitto-clients",
    "node": "nodejs",
    "systemd-analyze": "systemd",
}
"""Program → Debian package, where the names differ."""

KEPT_LINES = 20_000


class ProcessFailed(AssertionError):
    """A child did not do what it was waited for; the message ends with what it said last."""


def program(name: str) -> str:
    """The path of a program that a test cannot do without; names the package where it is missing."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise ProcessFailed(f"{name} is not installed: apt-get install {PACKAGES.get(name, name)}, or run make test")
    return path


def gateway_command(*arguments: str) -> tuple[str, ...]:
    """``pilot-gateway …`` of this very checkout and interpreter."""
    return (sys.executable, "-m", "gateway", *arguments)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    return free_ports(1)[0]


def free_ports(count: int) -> tuple[int, ...]:
    """Different free TCP ports of the loopback interface. Only for programs that cannot choose one themselves.

    They lie below the range that the system takes for outgoing connections: a client that keeps knocking at a server
    that is down may otherwise be given the very port it knocks at, and is then connected to itself.
    """
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            each = stack.enter_context(socket.socket())
            with suppress(OSError):  # somebody has it: try another
                each.bind(("127.0.0.1", random.randrange(10_000, first_outgoing)))
                ports.append(each.getsockname()[1])
        return tuple(ports)


@dataclass(slots=True)
class Process:
    """A running child. ``lines`` is what it wrote so far to standard output and standard error, newest last."""

    name: str
    child: asyncio.subprocess.Process
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    _grown: asyncio.Condition = field(default_factory=asyncio.Condition)
    _ended: bool = False  # its output is at the end

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self.child.returncode

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    async def wait_for(self, pattern: str, deadline_s: float = 20.0) -> re.Match[str]:
        """Return the first match of the pattern in a line of its output, past or to come."""
        expression = re.compile(pattern)
        seen = 0
        try:
            async with asyncio.timeout(deadline_s), self._grown:
                while True:
                    lines = list(self.lines)
                    for line in lines[seen:] if seen <= len(lines) < KEPT_LINES else lines:
                        if match := expression.search(line):
                            return match
                    seen = len(lines)
                    if self._ended:
                        await self.child.wait()
                        raise ProcessFailed(self._story(f"ended without saying {pattern!r}"))
                    await self._grown.wait()
        except TimeoutError:
            raise ProcessFailed(self._story(f"did not say {pattern!r} within {deadline_s} s")) from None

    async def wait_for_port(self, port: int, deadline_s: float = 20.0) -> None:
        """Return when something accepts connections at the port of the loopback interface."""
        deadline = asyncio.get_running_loop().time() + deadline_s
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if self.returncode is not None:
                    raise ProcessFailed(self._story(f"ended before it listened on port {port}")) from None
                if asyncio.get_running_loop().time() > deadline:
                    raise ProcessFailed(self._story(f"did not listen on port {port} within {deadline_s} s")) from None
                await asyncio.sleep(0.02)
            else:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
                return

    async def wait_ended(self, deadline_s: float = 20.0) -> int:
        """Return its exit code once it has ended by itself."""
        try:
            async with asyncio.timeout(deadline_s):
                return await self.child.wait()
        except TimeoutError:
            raise ProcessFailed(self._story(f"did not end within {deadline_s} s")) from None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the child and everything it started; nothing happens where all have ended."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def stop(self, deadline_s: float = 10.0) -> int:
        """Ask it to end (SIGTERM); kill it when it does not within the deadline, and say so. Returns the exit code."""
        if self.returncode is None:
            self.send(signal.SIGCONT)  # a paused process would not hear
            self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(deadline_s):
                await self.child.wait()
        except TimeoutError:
            await self.kill()
            raise ProcessFailed(self._story(f"did not end within {deadline_s} s of SIGTERM and was killed")) from None
        finally:
            self.send(signal.SIGKILL)  # whatever it started itself
        return await self.child.wait()

    async def kill(self) -> None:
        """End it at once, as a power cut would (SIGKILL)."""
        self.send(signal.SIGKILL)
        await self.child.wait()

    async def _read(self) -> None:
        stream = self.child.stdout
        assert stream is not None
        while line := await _line(stream):
            async with self._grown:
                self.lines.append(line.decode(errors="replace").rstrip("\r\n"))
                self._grown.notify_all()
        async with self._grown:
            self._ended = True
            self._grown.notify_all()

    def _story(self, what: str) -> str:
        code = "" if self.returncode is None else f" (exit code {self.returncode})"
        last = "\n  ".join(list(self.lines)[-40:]) or "nothing"
        return f"{self.name} {what}{code}. It said last:\n  {last}"


@asynccontextmanager
async def run_process(
    *command: str,
    ready: str | None = None,
    port: int | None = None,
    deadline_s: float = 60.0,
    stop_s: float = 10.0,
    name: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> AsyncIterator[Process]:
    """Run a child until the block is left.

    ``ready``: enter the block only when a line of its output matches; ``port``: when it accepts connections there.
    ``env`` is added to the environment. Leaving the block ends it with SIGTERM; one that needs SIGKILL after
    ``stop_s`` is a failure, unless the block has already failed.
    """
    child = await asyncio.create_subprocess_exec(
        *_with_parent(command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        cwd=cwd,
    )
    process = Process(name or Path(command[0]).name, child)
    reader = asyncio.create_task(process._read(), name=f"output of {process.name}")
    try:
        if ready is not None:
            await process.wait_for(ready, deadline_s)
        if port is not None:
            await process.wait_for_port(port, deadline_s)
        yield process
        await process.stop(stop_s)
    finally:
        await process.kill()
        await reader


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command that has ended said."""

    code: int
    stdout: str
    stderr: str


async def run_to_end(
    *command: str,
    deadline_s: float = 30.0,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> Finished:
    """Run a command that ends by itself, and return its exit code and what it said."""
    child = await asyncio.create_subprocess_exec(
        *_with_parent(command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )
    try:
        async with asyncio.timeout(deadline_s):
            out, err = await child.communicate(stdin.encode())
    except TimeoutError:
        raise ProcessFailed(f"{' '.join(command)} did not end within {deadline_s} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
    return Finished(child.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))


def descendants(pid: int) -> Iterator[int]:
    """The process ids of everything that a process has started and that still runs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                # pid (name, which may hold anything) state ppid …
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            waiting.append(child)
            yield child


def _with_parent(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command, made to be killed when the test run itself is killed."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--", *command) if setpriv else command


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line; one that is longer than the reader's limit comes in parts. Empty at the end."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        return await stream.read(error.consumed)
    except asyncio.IncompleteReadError as error:
        return error.partial
