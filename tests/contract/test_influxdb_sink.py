"""The InfluxDB sink keeps the contract of sinks, on Debian's InfluxDB and on VictoriaMetrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.board import LiveBoard
from gateway.core.clock import SystemClock
from gateway.core.contracts import Sink
from gateway.sinks import SINKS, Identity
from gateway.sinks.options import InfluxDbOptions
from tests.contract.sink import OtherSide, Row, SinkContract
from tests.support.influxd import Influx, influxd
from tests.support.proxy import Proxy, proxy
from tests.support.victoria_metrics import VictoriaMetrics, victoria_metrics

pytestmark = pytest.mark.system


@dataclass
class Database:
    """Satisfies OtherSide."""

    way: Proxy
    server: Influx | VictoriaMetrics

    def make(self) -> Sink:
        options = InfluxDbOptions(type="influxdb", url=f"http://127.0.0.1:{self.way.port}", bucket="plant", timeout_s=2)
        return SINKS["influxdb"].make("influxdb", options, Identity("gw1", "9f3a11c2"), LiveBoard([]), SystemClock())

    async def go(self) -> None:
        await self.way.refuse()

    async def come(self) -> None:
        await self.way.accept()

    async def stored(self) -> set[Row]:
        if isinstance(self.server, Influx):
            rows = await self.server.query("SELECT quality, device, signal FROM reading")
            return {(row["device"], row["signal"], row["time"] // 10**6) for row in rows}
        return {
            (series.labels["device"], series.labels["signal"], time_ms)
            for series in await self.server.export('{__name__="reading_quality"}')
            for time_ms in series.times_ms
        }


class TestOnInfluxDb(SinkContract):
    @pytest.fixture
    async def side(self, tmp_path: Path) -> AsyncIterator[OtherSide]:
        async with influxd(tmp_path) as server, proxy(server.port) as way:
            yield Database(way, server)


class TestOnVictoriaMetrics(SinkContract):
    @pytest.fixture
    async def side(self, tmp_path: Path) -> AsyncIterator[OtherSide]:
        async with victoria_metrics(tmp_path) as server, proxy(server.port) as way:
            yield Database(way, server)
