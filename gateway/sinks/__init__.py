"""Where batches go. This is the one place where a sink is registered.

A sink is two files: one that does I/O and one, pure, that makes the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from gateway.core.clock import Clock
from gateway.core.contracts import Board, Sink
from gateway.core.options import Options
from gateway.sinks.options import InfluxDbOptions, MqttOptions


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is sending."""

    gateway: str  # slug
    boot: str  # 8 hex digits, one per start
    directory: Path | None = None  # where a sink may keep what it must know after a restart; None: nowhere


@dataclass(frozen=True, slots=True)
class SinkType:
    """One kind of sink: its vocabulary, and where its code is. The code is imported only where it is configured."""

    options: type[Options]
    sink: str  # module:class

    def make(self, name: str, options: Options, identity: Identity, board: Board, clock: Clock) -> Sink:
        """A sink; no I/O yet."""
        module, attribute = self.sink.split(":")
        maker: Any = getattr(import_module(module), attribute)
        sink: Sink = maker(name, options, identity, board, clock)
        return sink


SINKS: Mapping[str, SinkType] = {
    "mqtt": SinkType(MqttOptions, "gateway.sinks.mqtt:MqttSink"),
    "influxdb": SinkType(InfluxDbOptions, "gateway.sinks.influxdb:InfluxDbSink"),
}
"""Value of ``type`` → sink."""
