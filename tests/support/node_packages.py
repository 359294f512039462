"""What the foreign servers on Node.js need; installed by npm at its first use."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path

from tests.support.processes import ProcessFailed, program, run_to_end

INSTALL_S = 300.0


async def install(home: Path, package: str) -> None:
    """Install what ``home/package.json`` names where ``package`` is missing; fails where node or npm are."""
    program("node")
    npm = program("npm")
    with (home / "package.json").open() as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)  # two test runs at once
        if (home / "node_modules" / package / "package.json").exists():
            return
        done = await run_to_end(npm, "ci", "--no-audit", "--no-fund", deadline_s=INSTALL_S, cwd=home)
        if done.code:
            raise ProcessFailed(f"npm ci in {home} failed:\n{done.stdout}\n{done.stderr}")
