"""A second copy of what every group needs to be understood: the sources, in an append-only file beside the database.

Groups refer to sources by number. A damaged row of the table ``source``, or a database that cannot be opened any more,
must not make groups unreadable whose own bytes are sound.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from struct import Struct

from gateway.core.model import Source
from gateway.journal import codec

_HEAD = Struct("<4sIqI")  # magic, length of the deflated JSON, number, CRC-32 of number and deflated JSON
_MAGIC = b"PGSO"


class SourceCopies:
    """The file ``sources``."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "sources"
        self._known: set[int] = set()
        self.bytes = 0

    def read(self) -> dict[int, Source]:
        """Every source that is readable; what is not is stepped over."""
        found: dict[int, Source] = {}
        raw = self._path.read_bytes() if self._path.exists() else b""
        at = raw.find(_MAGIC)
        while 0 <= at <= len(raw) - _HEAD.size:
            _, length, number, crc = _HEAD.unpack_from(raw, at)
            packed = raw[at + _HEAD.size : at + _HEAD.size + length]
            if codec.checksum((number,), packed) == crc:
                found[number] = codec.decode_source(zlib.decompress(packed))
            at = raw.find(_MAGIC, at + 1)
        self._known = set(found)
        self.bytes = len(raw)
        return found

    def add(self, sources: Mapping[int, Source]) -> None:
        """Append those that are not there, and force them to the disk. Raises OSError."""
        new = {number: source for number, source in sources.items() if number not in self._known}
        if not new:
            return
        packed = {number: zlib.compress(codec.encode_source(source)) for number, source in new.items()}
        heads = {n: _HEAD.pack(_MAGIC, len(text), n, codec.checksum((n,), text)) for n, text in packed.items()}
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            os.write(fd, b"".join(heads[number] + packed[number] for number in packed))
            os.fdatasync(fd)
            self.bytes = os.fstat(fd).st_size
        finally:
            os.close(fd)
        self._known |= new.keys()
