"""Which devices a broker shows, on the disk: so what is taken out of the configuration while the gateway is stopped
does not stay on the broker for ever.

In: the devices that are about to be shown. Out: those that were, in this life or an earlier one. It is written before
anything is shown, so it names too many rather than too few. A file that cannot be read or written costs no more than
such a left-over, so that is a warning.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from gateway.core.model import Device

_log = logging.getLogger("gateway.sinks.mqtt")


class ShownDevices:
    """The file of one sink; reading and writing block for the disk. Without a directory nothing is kept."""

    def __init__(self, directory: Path | None, sink: str, broker: str, prefix: str) -> None:
        self._path = directory / f"shown-{sink}.json" if directory else None
        self._where = {"broker": broker, "prefix": prefix}
        self._written: set[str] | None = None  # paths

    def read(self) -> list[Device]:
        """Those that this broker was shown under this prefix."""
        if self._path is None or not self._path.exists():
            return []
        try:
            said = json.loads(self._path.read_bytes())
            devices = [Device(site, line, device, ()) for site, line, device in said["devices"]]
            return devices if {key: said[key] for key in self._where} == self._where else []
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("which devices the broker shows cannot be read from %s: %s", self._path, error)
            return []

    def differs(self, devices: Iterable[Device]) -> bool:
        """Whether these are not those that were written last. Does not look at the disk."""
        return self._path is not None and {device.path for device in devices} != self._written

    def write(self, devices: Iterable[Device]) -> None:
        """Keep these."""
        assert self._path  # noqa: S101 - else nothing differs
        shown = {device.path: (device.site, device.line, device.id) for device in devices}
        said = {**self._where, "devices": list(shown.values())}
        new = self._path.with_suffix(".new")
        try:
            new.write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
            os.replace(new, self._path)
        except OSError as error:
            _log.warning("which devices the broker shows cannot be kept in %s: %s", self._path, error.strerror)
        self._written = set(shown)
