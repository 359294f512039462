"""Configuration folders for tests: write files, load them, get the mistakes as a technician sees them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from gateway.core.errors import ConfigError
from gateway.settings import Settings, load

GATEWAY = """\
gateway: gw1
site: wuxi
"""

LINE = """\
line: pl1
links:
  - id: bus
    type: modbus-tcp
    host: 127.0.0.1
    devices:
      - id: meter
        tags:
          - {name: power, register: 0, type: float32, unit: W}
"""

TEMPLATE = """\
protocol: modbus
manufacturer: Acme
model: M1
source: a test
verified: none
function: 4
limits: {max_registers: 80, even_start: true}
tags:
  - {name: voltage, register: 0, type: float32, unit: V, range: [0, 300], names: {en: Voltage, zh: 电压}}
  - {name: energy, register: 72, type: float32, unit: kW.h, period_s: 10}
"""


class Folder:
    """A configuration below ``path``; right until a test makes something in it wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ: dict[str, str] = {}
        self.write("gateway.yaml", GATEWAY)
        self.write("lines/pl1.yaml", LINE)
        self.write("templates/acme-m1.yaml", TEMPLATE)

    def write(self, name: str, text: str | bytes) -> Path:
        """A file of the configuration."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dedent(text).encode() if isinstance(text, str) else text)
        return path

    def line(self, text: str) -> Path:
        """The only line file."""
        return self.write("lines/pl1.yaml", text)

    def device(self, text: str, link: str = "type: modbus-tcp, host: h") -> None:
        """A line with one link and this device in flow style; it stands in line 3."""
        self.line(f"line: pl1\nlinks:\n  - {{id: bus, {link}, devices: [{text}]}}\n")

    def tag(self, text: str) -> None:
        """A line with one Modbus device with this tag in flow style; it stands in line 3."""
        self.device(f"{{id: meter, tags: [{text}]}}")

    def load(self, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings; raises ConfigError."""
        return load(self.path, self.environ if environ is None else environ)

    def mistakes(self, environ: Mapping[str, str] | None = None) -> list[str]:
        """What is wrong, with paths relative to the folder."""
        try:
            self.load(environ)
        except ConfigError as error:
            return [str(mistake).replace(f"{self.path}/", "") for mistake in error.mistakes]
        return []
