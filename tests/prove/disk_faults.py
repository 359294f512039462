"""M3 and M4: a disk that fails, is read-only or full under a running gateway. It polls on, says so, and recovers.

The failing calls are injected into the running gateway by strace, the full disk is a tmpfs of a few megabytes. While
the disk cannot be written, readings wait in memory: in these few seconds none may be lost.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.prove.gateway_kill import unbroken
from tests.prove.proof import NotPossible, Progress, Proof, Reached
from tests.support.stand import Stand, stand
from tests.support.strace import NotAllowed, failing

SYNC, WRITE = "fsync,fdatasync", "pwrite64"
FAULTS = (
    ("EIO on fsync", SYNC, "EIO"),
    ("EIO on write", WRITE, "EIO"),
    ("a read-only disk", f"{WRITE},{SYNC},ftruncate,fallocate,unlink", "EROFS"),
    ("a full disk", f"{WRITE},fallocate", "ENOSPC"),
)
DISK_BYTES = 8 << 20
RECOVERED_S = 10.0


@dataclass(slots=True)
class Found:
    """What the gateway did."""

    faults: list[str] = field(default_factory=list)
    dropped: int = 0  # readings that made room, counted
    polls: int = 0  # while the disk was ill
    recovered_s: float = 0.0  # the longest time from the end of a fault until the journal wrote again


async def error_of(line: Stand) -> str:
    return str((await line.status())["journal"]["error"] or "")


async def _until_error(line: Stand, there: bool, within_s: float) -> float:
    begin = time.monotonic()
    while bool(await error_of(line)) is not there:
        waited = time.monotonic() - begin
        assert waited < within_s, f"the journal {'says nothing' if there else 'still complains'} after {waited:.0f} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - begin


async def survive(line: Stand, hold: int, say: Progress) -> Found:
    """Each fault in turn on one running gateway, and then everything that was said has arrived."""
    found = Found()
    async with line.gateway() as gateway:
        await line.answered(5)
        for name, calls, error in FAULTS:
            say(name)
            before = sum(line.modbus.answers.values())
            try:
                async with failing(gateway.child.pid, calls, error):
                    await _until_error(line, True, 20)
                    await line.answered(hold)
            except NotAllowed as reason:
                raise NotPossible(str(reason)) from reason
            except AssertionError as failed:
                found.faults.append(f"{name}: {failed}")
                continue
            found.polls += sum(line.modbus.answers.values()) - before
            found.recovered_s = max(found.recovered_s, await _until_error(line, False, 60))
            await line.answered(3)
        await settle(line, found)
        assert await gateway.stop() == 0
    return found


async def settle(line: Stand, found: Found) -> None:
    """Everything that was accepted is in both sinks, but for what is counted as dropped."""
    await line.drained()
    status = await line.status()
    journal = status["journal"]
    if journal["lost_records"]:
        found.faults.append(f"{journal['lost_records']} records lost")
    dropped = {sink["sink"]: sink["readings"]["dropped"] for sink in status["sinks"]}
    found.dropped = sum(dropped.values())
    messages = line.messages()
    if not dropped["mqtt"]:
        found.faults += unbroken(messages)
        if len({(m["device"], m["boot"], m["seq"]) for m in messages}) != journal["accepted_records"]:
            found.faults.append("accepted and published differ")
    points = {key: set(rows) for key, rows in (await line.in_database()).items()}
    missing = sum(len(set(rows) - points.get(key, set())) for key, rows in line.in_mqtt().items())
    if missing > dropped["influxdb"]:
        found.faults.append(f"{missing} readings missing in the database")


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A disk of a few megabytes at the place."""
    place.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place))
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    if tried.returncode:
        raise NotPossible(f"mount: {tried.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(("umount", str(place)), check=True)


def occupy(place: Path) -> Path:
    """Somebody else fills the disk to the last block."""
    space = os.statvfs(place)
    hog = place / "somebody-else"
    fd = os.open(hog, os.O_WRONLY | os.O_CREAT)
    try:
        os.posix_fallocate(fd, 0, max(1, space.f_bavail * space.f_frsize))
    finally:
        os.close(fd)
    return hog


async def survive_full_disk(line: Stand, hold: int) -> Found:
    """The disk of the journal is really full for a while."""
    found = Found()
    with small_disk(line.folder / "journal"):
        return await _fill(line, hold, found)


async def _fill(line: Stand, hold: int, found: Found) -> Found:
    async with line.gateway() as gateway:
        await line.answered(5)
        before = sum(line.modbus.answers.values())
        hog = occupy(line.folder / "journal")
        await line.answered(hold)
        found.polls = sum(line.modbus.answers.values()) - before
        await asyncio.to_thread(hog.unlink)
        found.recovered_s = await _until_error(line, False, 60)
        await line.answered(3)
        await settle(line, found)
        assert await gateway.stop() == 0
    return found


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    ill, full = folder / "ill", folder / "full"
    ill.mkdir()
    full.mkdir()
    hold = 20 if quick else 60
    async with stand(ill) as line:
        found = await survive(line, hold, say)
    async with stand(full) as line:
        say("a disk without a free block")
        filled = await survive_full_disk(line, hold)
    names = ", ".join(name for name, _, _ in FAULTS)
    recovered = max(found.recovered_s, filled.recovered_s)
    text = (
        f"{names}, and a tmpfs without a free block: {found.polls + filled.polls:,} polls answered meanwhile, each "
        f"injected fault told by the API, journal writing again {recovered:.1f} s after the end, everything in both "
        "sinks"
    )
    faults = found.faults + filled.faults
    if found.dropped:
        faults.append(f"{found.dropped} readings dropped although the disk had room")
    if filled.dropped:
        text += f" but for {filled.dropped} readings that made room on the full disk and are counted as dropped"
    return Reached("; ".join([text, *faults[:8]]), not faults and recovered <= RECOVERED_S)


PROOF = Proof(
    "disk-faults",
    "failing, read-only and full disk under a running gateway",
    "polls on, says so, recovers ≤ 10 s, 0 readings lost",
    prove,
)
