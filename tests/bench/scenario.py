"""What is measured: the work of a benchmark, and the configuration that gives it to a gateway. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

SITE, LINE = "bench", "farm"
PREFIX = "pilot/v1"
SINKS = ("mqtt", "influxdb")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Modbus TCP devices, one link each, every tag a float32 of holding registers, all read at one rate."""

    name: str
    devices: int
    tags: int  # per device
    rate_hz: float  # scans per second and device
    seconds: float  # how long to measure
    warm_up_s: float = 5.0
    delay_ms: tuple[float, float] = (0.0, 0.0)  # how long a device takes to answer
    sinks: tuple[str, ...] = SINKS

    @property
    def values_per_s(self) -> float:
        return self.devices * self.tags * self.rate_hz

    def __str__(self) -> str:
        slow = f", answers after {self.delay_ms[0]:g}-{self.delay_ms[1]:g} ms" if self.delay_ms[1] else ""
        return f"{self.devices} devices × {self.tags} float32 @ {self.rate_hz:g} Hz → {' + '.join(self.sinks)}{slow}"


PRESETS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("reference", devices=50, tags=200, rate_hz=10, seconds=20),
        Scenario("site-small", devices=10, tags=100, rate_hz=10, seconds=20),
        Scenario("site-slow", devices=100, tags=62, rate_hz=1, seconds=20),
        Scenario("start", devices=10, tags=100, rate_hz=1, seconds=3, warm_up_s=1.0),
        Scenario("slow-devices", devices=50, tags=200, rate_hz=10, seconds=20, delay_ms=(2, 50)),
    )
}


def device_id(number: int) -> str:
    return f"d{number:03d}"


def gateway_config(
    scenario: Scenario, *, journal: str, api_port: int, mqtt_port: int, influx_port: int
) -> dict[str, Any]:
    """gateway.yaml."""
    sinks: dict[str, Any] = {
        "mqtt": {"type": "mqtt", "host": "127.0.0.1", "port": mqtt_port, "prefix": PREFIX},
        "influxdb": {"type": "influxdb", "url": f"http://127.0.0.1:{influx_port}", "bucket": "bench", "org": "bench"},
    }
    return {
        "gateway": "bench",
        "site": SITE,
        "journal": {"directory": journal},
        "sinks": {name: sinks[name] for name in scenario.sinks},
        "api": {"host": "127.0.0.1", "port": api_port},
    }


def line_config(scenario: Scenario, ports: Sequence[int]) -> dict[str, Any]:
    """lines/farm.yaml: every link written out, as no template would know the farm."""
    tags = [
        {"name": f"t{i:03d}", "register": 2 * i, "function": 3, "type": "float32", "unit": "Cel"}
        for i in range(scenario.tags)
    ]
    return {
        "line": LINE,
        "links": [
            {
                "id": f"link-{device_id(number)}",
                "type": "modbus-tcp",
                "host": "127.0.0.1",
                "port": port,
                "devices": [{"id": device_id(number), "address": 1, "period_s": 1 / scenario.rate_hz, "tags": tags}],
            }
            for number, port in enumerate(ports)
        ],
    }


def changed(scenario: Scenario, **changes: Any) -> Scenario:
    """The scenario with what was given on the command line; None changes nothing."""
    return replace(scenario, **{name: value for name, value in changes.items() if value is not None})
