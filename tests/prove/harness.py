"""Harnesses that fork run in a process of their own: started here, progress from their stderr, result from stdout."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tests.prove.proof import Progress
from tests.support.processes import ROOT


async def run_harness(module: str, *arguments: str, say: Progress | None = None, what: str = "") -> dict[str, Any]:
    """``python -m module``: lines of stderr tell how far it is, stdout is the result as JSON."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdout
    assert child.stderr
    last: list[str] = []
    try:
        while line := (await child.stderr.readline()).decode(errors="replace").rstrip():
            last = [*last[-30:], line]
            if say and line.startswith("cycle "):
                say(f"{what}{line}")
        output = await child.stdout.read()
        await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if not output:
        raise AssertionError(f"{module} gave no result:\n" + "\n".join(last))
    result: dict[str, Any] = json.loads(output)
    return result
