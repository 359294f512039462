"""A power cut: a process appends to a journal on a file system of its own, which dies without writing anything more.

``python -m tests.support.power_cut DIRECTORY --cycles 200 --mode sound`` prints a summary as JSON. The disk is an
ext4 image behind a loop device; the cut is the ioctl EXT4_IOC_SHUTDOWN without flushing its log: what was not forced to
the disk by then is gone, as with the plug pulled. Mode ``normal`` runs the journal with ``synchronous=NORMAL`` and must
lose records, or the harness proves nothing.

Three things that keep it honest and the machine safe. Right before the ioctl it is checked that the folder is a mount
point, of the loop device and of nothing else. Only what was told as accepted *before* the ioctl counts, because it is
not atomic against a running fsync. The image is deleted last, when nothing uses it any more.

Exit code 77: this machine does not allow it; the reason is in the summary.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.journal import database
from tests.support.journal_kill import look, readable, record, victim
from tests.support.processes import ProcessFailed, program

NOT_POSSIBLE = 77
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
NO_LOG_FLUSH = (2).to_bytes(4, sys.byteorder)  # EXT4_GOING_FLAGS_NOLOGFLUSH
IMAGE_BYTES = 256 << 20
FRESH_EVERY = 10  # cycles: then a new journal, so that making one is cut too

Connect = Callable[[Path, int], tuple[sqlite3.Connection, bool]]


class NotAllowed(Exception):
    """No loop device, no mount, or no such ioctl here."""


@dataclass
class Result:
    cycles: int = 0
    accepted: int = 0  # records told as accepted before a cut
    lost: int = 0  # of these: missing or wrong after it
    cuts_with_loss: int = 0
    trouble: int = 0  # cuts after which the journal reported damage
    reason: str = ""  # why it was not possible


class Disk:
    """An ext4 image behind a loop device, mounted and unmounted at will."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "disk.img"
        self.place = folder / "disk"
        self.device = ""

    def make(self) -> None:
        self.place.mkdir()
        with self.image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(self.image))
        self.device = _run("losetup", "--find", "--show", str(self.image)).strip()

    def mount(self) -> None:
        _run("mount", "-t", "ext4", self.device, str(self.place))

    def cut(self) -> None:
        """Nothing is written from now on."""
        folder = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            ours = os.fstat(folder).st_dev == os.stat(self.device).st_rdev
            other = os.fstat(folder).st_dev != os.stat(self.place.parent).st_dev
            if not (ours and other and os.path.ismount(self.place)):
                raise RuntimeError(f"{self.place} is not the mount point of {self.device}: nothing is shut down")
            fcntl.ioctl(folder, SHUTDOWN, NO_LOG_FLUSH)
        except OSError as error:
            raise NotAllowed(f"ioctl EXT4_IOC_SHUTDOWN: {error.strerror}") from error
        finally:
            os.close(folder)

    def unmount(self) -> None:
        if os.path.ismount(self.place):
            _run("umount", str(self.place))

    def remove(self) -> None:
        self.unmount()
        if self.device:
            _run("losetup", "--detach", self.device)
        self.image.unlink(missing_ok=True)


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """A disk that is gone afterwards. Raises NotAllowed."""
    made = Disk(folder)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _run(*command: str) -> str:
    try:
        path = program(command[0])
    except ProcessFailed as error:
        raise NotAllowed(str(error)) from error
    done = subprocess.run((path, *command[1:]), capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotAllowed(f"{command[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def cycle(disk: Disk, number: int, mode: str, generator: random.Random, result: Result) -> None:
    """One life of a victim that ends with a cut, and a look at what the disk holds afterwards."""
    directory = disk.place / f"journal-{number // FRESH_EVERY}"
    disk.mount()
    before = look(directory)
    first = before.head.records
    before.close()
    listen, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(listen)
            asyncio.run(victim(directory, "sound", tell, number))
        finally:
            os._exit(1)
    os.close(tell)
    try:
        select.select([listen], [], [], 10)
        time.sleep(generator.uniform(0, 0.15))
        accepted = _told(listen, first)
        disk.cut()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(listen)
        disk.unmount()
    disk.mount()
    try:
        store = look(directory)
        there = readable(store, first)
        trouble = store.trouble
        store.close()
    finally:
        disk.unmount()
    lost = sum(there.get(position) != record(position) for position in range(first, accepted))
    result.cycles += 1
    result.accepted += accepted - first
    result.lost += lost
    result.cuts_with_loss += bool(lost)
    result.trouble += bool(trouble)


def _told(listen: int, first: int) -> int:
    """The end of what the victim has told as accepted by now."""
    accepted, rest = first, b""
    while select.select([listen], [], [], 0)[0] and (data := os.read(listen, 65_536)):
        *lines, rest = (rest + data).split(b"\n")
        accepted = max([accepted, *(int(line[2:]) for line in lines if line[:1] == b"a")])
    return accepted


def _weakly(connect: Connect) -> Connect:
    """The same, but commits are not forced to the disk."""

    def connect_weakly(path: Path, wal_bytes: int) -> tuple[sqlite3.Connection, bool]:
        db, new = connect(path, wal_bytes)
        db.execute("PRAGMA synchronous = NORMAL")
        return db, new

    return connect_weakly


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--mode", choices=("sound", "normal"), default="sound")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.mode == "normal":
        database.connect = _weakly(database.connect)  # type: ignore[assignment]  # mypy wants the very names
    generator = random.Random(options.seed)
    result = Result()
    options.directory.mkdir(parents=True, exist_ok=True)
    try:
        with disk(options.directory) as made:
            for number in range(options.cycles):
                cycle(made, number, options.mode, generator, result)
                sys.stderr.write(f"cycle {number + 1} of {options.cycles}\n")
                sys.stderr.flush()
                if options.mode != "sound" and result.cuts_with_loss >= 3:
                    break  # the control has shown what it is for
    except NotAllowed as error:
        result.reason = str(error)
    sys.stdout.write(json.dumps(asdict(result)) + "\n")
    return NOT_POSSIBLE if result.reason else 1 if result.lost else 0


if __name__ == "__main__":
    sys.exit(main())
