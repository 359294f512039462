"""The small files beside the journal's database: the lock, the high-water mark and the ballast."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path
from struct import Struct

from gateway.core.contracts import Count
from gateway.core.errors import JournalError
from gateway.journal.codec import checksum

_log = logging.getLogger("gateway.journal")


def not_writable(directory: Path, error: OSError) -> str:
    """The sentence for a directory in which the journal cannot be kept, with what helps."""
    remedy = {
        errno.EACCES: f"the user of this gateway (number {os.geteuid()}) must own it, and reach it",
        errno.EROFS: "its disk is mounted read-only; see what the system log says of that disk, or use another one",
        errno.ENOSPC: "its disk is full; make room, or use another one",
        errno.ENOTDIR: "something in its path is a file; name another directory",
    }
    remedy[errno.EPERM] = remedy[errno.EACCES]
    help_ = remedy.get(error.errno or 0, "")
    return f"the journal cannot be kept in {directory}: {error.strerror}" + (f": {help_}" if help_ else "")


class InUseError(JournalError):
    """Another process has the journal."""


class DirectoryLock:
    """One process at a time: flock on ``lock``, which holds the number of the process.

    The lock goes with the process, however it ends; the file stays and means nothing.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._fd = -1

    def acquire(self) -> None:
        """Raises JournalError naming the process that has it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise InUseError(
                f"the journal in {self._path.parent} is in use by another gateway (process {owner or 'unknown'}): "
                "stop that one, or give this one a directory of its own"
            ) from None
        self._fd = fd
        own = f"{os.getpid()}\n".encode()
        try:
            if os.pread(fd, 32, 0) != own:
                os.ftruncate(fd, 0)
                os.pwrite(fd, own, 0)
        except OSError:  # a full disk: the lock holds all the same, only its message will not name us
            os.ftruncate(fd, 0)

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


_MARK = Struct("<4sqqI")
_MAGIC = b"PGHW"


class HighWaterMark:
    """How far the journal has got, kept outside the database, so that a tail that silently vanished is *seen*.

    SQLite takes a damaged frame for the end of its WAL and drops everything behind it without a word. The mark is
    written after each commit and forced to the disk at most once per second. So it never claims more than was
    committed; after kill -9 it is exact; after a power cut it may be up to a second behind, and a tail of that
    second that rotted in the same accident is the one thing it cannot see.
    """

    def __init__(self, directory: Path) -> None:
        self.trouble = ""  # why it cannot be written at the moment; other threads may read it
        self._path = directory / "high-water"
        self._fd = -1
        self._synced_ns = 0

    def open(self) -> Count:
        """The mark; zero where there is none or it cannot be read."""
        self.close()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        raw = os.pread(self._fd, _MARK.size, 0)
        if len(raw) < _MARK.size:
            return Count()
        magic, records, readings, crc = _MARK.unpack(raw)
        if magic != _MAGIC or crc != checksum((records, readings)):
            return Count()
        return Count(records, readings)

    def keep(self, count: Count, monotonic_ns: int) -> None:
        """As ``write``. The commit itself is safe without it; unlike damage, this trouble is over with the next one."""
        try:
            self.write(count, monotonic_ns)
        except OSError as error:
            if not self.trouble:
                self.trouble = f"the high-water mark of the journal cannot be written: {error.strerror}"
                _log.error("%s", self.trouble, extra={"directory": str(self._path.parent)})
        else:
            self.trouble = ""

    def write(self, count: Count, monotonic_ns: int) -> None:
        crc = checksum((count.records, count.readings))
        os.pwrite(self._fd, _MARK.pack(_MAGIC, count.records, count.readings, crc), 0)
        if monotonic_ns - self._synced_ns >= 1_000_000_000:
            os.fdatasync(self._fd)
            self._synced_ns = monotonic_ns

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Ballast:
    """Bytes set aside for the day the disk is full: SQLite needs room even to delete.

    Let go of when a write finds no space, taken again when there is plenty.
    """

    def __init__(self, directory: Path, size: int) -> None:
        self._path = directory / "ballast"
        self.size = size

    @property
    def there(self) -> bool:
        return self._path.exists()

    def take(self) -> bool:
        """Occupy the bytes if that leaves as many again for others; whether they are occupied now."""
        try:
            if self.there and self._path.stat().st_size == self.size:
                return True
            space = os.statvfs(self._path.parent)
            if space.f_bavail * space.f_frsize < 2 * self.size:
                return False
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            try:
                os.posix_fallocate(fd, 0, self.size)
            finally:
                os.close(fd)
        except OSError:  # no room for it, or nothing can be written at all: the next commit says so
            self.release()
            return False
        return True

    def release(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError:  # a file system that has turned read-only: then ballast does not help either
            return
