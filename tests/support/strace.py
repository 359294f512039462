"""Faults at the border of the kernel: a system call that kills, or that fails, by strace's injection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.processes import Finished, ProcessFailed, program, run_process, run_to_end

WRITES = (
    "write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,ftruncate,fallocate,"
    "unlink,unlinkat,rename,renameat,renameat2"
)
"""Everything by which a process changes what a disk holds."""

CLEAN = {"PYTHONDONTWRITEBYTECODE": "1"}  # compiled modules would be written too


class NotAllowed(Exception):
    """Tracing another process is not permitted here."""


async def write_calls(trace: Path, *command: str) -> Counter[str]:
    """Run a command unharmed; which write-class calls it makes, and how many of each in the thread with the most."""
    await _traced("-o", str(trace), "-e", f"trace={WRITES}", *command)
    by_thread = Counter(re.findall(r"^(\d+) +(\w+)\(", await asyncio.to_thread(trace.read_text), re.MULTILINE))
    most = Counter[str]()
    for (_, call), count in by_thread.items():
        most[call] = max(most[call], count)
    return most


async def run_killed_at(call: str, number: int, *command: str) -> Finished:
    """Run a command with SIGKILL as one of its threads enters this call for the n-th time (strace counts so)."""
    # not --seccomp-bpf: strace 6.1 then loses count
    inject = f"inject={call}:signal=KILL:when={number}"
    return await _traced("-o", "/dev/null", "-e", f"trace={call}", "-e", inject, *command)


async def _traced(*arguments: str) -> Finished:
    done = await run_to_end(program("strace"), "--quiet=all", "-f", *arguments, env=CLEAN, deadline_s=60)
    if "not permitted" in done.stderr:
        raise NotAllowed(done.stderr.strip())
    return done


@contextlib.asynccontextmanager
async def failing(pid: int, calls: str, error: str) -> AsyncIterator[None]:
    """While the block lasts, these calls of a running process fail with this error."""
    command = ("-f", "-o", "/dev/null", "-p", str(pid), "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}")
    async with run_process(program("strace"), *command) as strace:
        try:
            await strace.wait_for(r"attached")
        except ProcessFailed as failed:
            if "permitted" in strace.output:
                raise NotAllowed(strace.output) from failed
            raise
        yield
        os.kill(strace.pid, signal.SIGINT)  # lets go of the process
        with contextlib.suppress(ProcessFailed):
            async with asyncio.timeout(10):
                await strace.wait_ended()
