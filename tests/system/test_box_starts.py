"""M3, M5, M8: what the gateway does when it starts on a journal that is taken, damaged, foreign or cannot be written.

Whatever can go on goes on by itself; whatever cannot ends with one sentence and exit code 1, and no traceback.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.prove.disk_faults import occupy, small_disk
from tests.prove.gateway_kill import unbroken
from tests.prove.proof import NotPossible
from tests.support.journal_damage import spoil
from tests.support.stand import Stand, stand

pytestmark = pytest.mark.system

FAILED = 1


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Stand]:
    async with stand(tmp_path) as up:
        yield up


async def sentence_of_a_failed_start(line: Stand) -> str:
    """The gateway ends with 1; gives the line that says why."""
    async with line.gateway(ready=None) as gateway:
        assert await gateway.wait_ended(30) == FAILED, gateway.output
        assert "Traceback" not in gateway.output
        [said] = [each for each in gateway.lines if "CRITICAL" in each]
        return said


async def test_m8_a_second_gateway_on_the_same_journal_is_told_so_and_the_first_goes_on(line: Stand) -> None:
    async with line.gateway() as first:
        await line.answered(2)
        assert f"in use by another gateway (process {first.pid})" in await sentence_of_a_failed_start(line)
        await line.answered(3)
        await first.kill()
    # the lock went with the process: nothing has to be removed by hand
    async with line.gateway() as third:
        await line.answered(3)
        await line.drained()
        assert await third.stop() == 0
    assert unbroken(line.messages()) == []


async def test_m5_a_journal_that_is_damaged_at_the_start_never_keeps_the_gateway_from_starting(line: Stand) -> None:
    generator = random.Random(7)
    for _ in range(2):
        async with line.gateway() as gateway:
            await line.answered(4)
            await gateway.kill()  # so that there is a WAL
        for name in ("journal.db", "journal.db-wal"):
            spoil(line.folder / "journal" / name, generator)
    (line.folder / "journal" / "journal.db").write_bytes(b"this is no database at all\n" * 500)
    async with line.gateway() as gateway:
        await line.answered(3)
        assert (await line.status())["journal"]["error"]  # the alarm
        await line.drained()
        assert await gateway.stop() == 0
    boots = list(dict.fromkeys(message["boot"] for message in line.messages()))
    assert len([m for m in line.messages() if m["boot"] == boots[-1]]) >= 9


def newer(journal: Path) -> None:
    with sqlite3.connect(journal / "journal.db") as db:
        db.execute("PRAGMA user_version = 999")
    db.close()


def a_file(journal: Path) -> None:
    for each in journal.iterdir():
        each.unlink()
    journal.rmdir()
    journal.write_text("")


@pytest.mark.parametrize(
    ("prepare", "words"), [(newer, "newer version"), (a_file, "cannot be kept in")], ids=["newer", "a-file"]
)
async def test_a_journal_that_is_not_ours_to_use_is_a_sentence(
    line: Stand, prepare: Callable[[Path], None], words: str
) -> None:
    async with line.gateway() as gateway:
        await line.answered(1)
        assert await gateway.stop() == 0
    prepare(line.folder / "journal")
    assert words in await sentence_of_a_failed_start(line)


async def test_m3_a_new_journal_on_a_full_disk_is_a_sentence(line: Stand) -> None:
    try:
        with small_disk(line.folder / "journal"):
            hog = occupy(line.folder / "journal")
            assert "journal" in await sentence_of_a_failed_start(line)
            os.unlink(hog)
            async with line.gateway() as gateway:
                await line.answered(2)
                assert await gateway.stop() == 0
    except NotPossible as reason:
        pytest.skip(str(reason))
