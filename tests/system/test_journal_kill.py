"""M1: kill -9 at any moment; ``make prove`` runs a thousand cycles."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT

pytestmark = pytest.mark.system

CYCLES = 30


async def kill(directory: Path, mode: str, cycles: int) -> tuple[int | None, dict[str, Any]]:
    command = ("-m", "tests.support.journal_kill", str(directory), "--cycles", str(cycles), "--mode", mode)
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return process.returncode, json.loads(output)


@pytest.mark.timeout(60 + CYCLES)
async def test_m1_nothing_accepted_is_lost(tmp_path: Path) -> None:
    code, result = await kill(tmp_path, "sound", CYCLES)
    assert (code, result["lost"], result["skipped"]) == (0, 0, 0)
    assert result["cycles"] == CYCLES
    assert result["accepted"] > CYCLES
    assert result["delivered"] > CYCLES


@pytest.mark.parametrize(("mode", "shows"), [("early", "lost"), ("cursor-first", "skipped")])
async def test_m1_controls_must_fail(tmp_path: Path, mode: str, shows: str) -> None:
    code, result = await kill(tmp_path, mode, 100)
    assert code == 1
    assert result[shows] > 0
