"""The InfluxDB sink against real servers: what was written is what can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.board import LiveBoard
from gateway.core.clock import SystemClock
from gateway.core.errors import Rejected, SinkUnavailable
from gateway.core.quality import Status
from gateway.sinks import Identity
from gateway.sinks.influxdb import InfluxDbSink
from gateway.sinks.options import InfluxDbOptions
from tests.support.batches import T0, batch, floats
from tests.support.influxd import influxd
from tests.support.victoria_metrics import victoria_metrics

pytestmark = pytest.mark.system

AWKWARD = 'a"b\\c, d=e 电\\'


def make(url: str, **options: Any) -> InfluxDbSink:
    chosen = InfluxDbOptions(type="influxdb", url=url, bucket="plant", **options)
    return InfluxDbSink("influxdb", chosen, Identity("gw1", "9f3a11c2"), LiveBoard([]), SystemClock())


async def test_victoria_metrics_gives_back_exactly_what_was_written(tmp_path: Path) -> None:
    async with victoria_metrics(tmp_path) as server:
        sink = make(server.url)
        await sink.connect()
        await sink.write(floats(500), history=False)
        await sink.write(floats(500), history=True)  # the same again: nothing doubles
        await sink.close()
        rows = await server.export('{__name__="reading_value"}')
    by_signal = {row.labels["signal"]: row for row in rows}
    assert set(by_signal) == {"temperature", "pressure"}
    temperature = by_signal["temperature"]
    values = dict(zip(temperature.times_ms, temperature.values, strict=True))
    assert values == {(T0 + seq * 10**9) // 10**6: 80.0 + seq / 8 for seq in range(1, 501)}
    labels = {name: text for name, text in temperature.labels.items() if name not in ("__name__", "db")}
    assert labels == {"site": "wuxi", "line": "pl1", "device": "meter", "signal": "temperature", "unit": "Cel"}


async def test_influxdb_types_strings_quality_and_run(tmp_path: Path) -> None:
    async with influxd(tmp_path) as server:
        sink = make(server.url, extra_tags=("area", "equipment"))
        await sink.connect()
        good = batch((80.4, 1e22, 7, True, AWKWARD), seq=1, run="pl1-1", phase='he"at', extra={"area": "hall 1"})
        bad = batch(
            (None, 2.0, None, None, None),
            seq=2,
            status=(
                Status.BAD_SENSOR_FAILURE,
                Status.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED,
                *(Status.BAD_NO_COMMUNICATION,) * 3,
            ),
            times_ns=[T0 + 5, T0 + 6, T0 + 7, T0 + 8, T0 + 9],
        )
        await sink.write([good, bad], history=False)
        await sink.close()
        fields = {row["fieldKey"]: row["fieldType"] for row in await server.query("SHOW FIELD KEYS FROM reading")}
        rows = await server.query("SELECT * FROM reading")
    assert fields == {
        "value": "float", "value_int": "integer", "value_bool": "boolean", "value_text": "string",
        "quality": "integer", "status": "integer", "run": "string", "phase": "string",
    }  # fmt: skip
    first = {row["signal"]: row for row in rows if row["run"]}
    assert first["temperature"]["value"] == 80.4
    assert first["pressure"]["value"] == 1e22
    assert (first["counter"]["value_int"], first["running"]["value_bool"]) == (7, True)
    assert first["recipe"]["value_text"] == AWKWARD
    assert (first["recipe"]["area"], first["recipe"]["equipment"]) == ("hall 1", "-")
    assert {(row["quality"], row["status"], row["phase"]) for row in first.values()} == {(192, None, 'he"at')}
    second = {row["signal"]: row for row in rows if not row["run"]}
    assert second["temperature"]["value"] is None
    assert (second["temperature"]["quality"], second["temperature"]["status"]) == (0, Status.BAD_SENSOR_FAILURE)
    assert (second["pressure"]["quality"], second["pressure"]["value"]) == (64, 2.0)
    assert second["recipe"]["time"] == T0 + 9
    assert second["recipe"]["area"] == "-"


async def test_d8_a_type_conflict_is_found_among_good_lines_and_nothing_else_is_lost(tmp_path: Path) -> None:
    """Someone else has written a float to the field of our integers, so those cannot be stored."""
    async with influxd(tmp_path) as server:
        await server.write("reading,device=foreign value_int=1.5 1763800000000000000")
        sink = make(server.url)
        await sink.connect()
        mixed = batch((80.4, 1.5, 7, True, "A"), device="odd", seq=7)
        with pytest.raises(Rejected, match=r"field type conflict.*value_int") as rejected:
            await sink.write([*floats(40), mixed, *floats(40, first=41)], history=False)
        await sink.close()
        (stored,) = await server.query("SELECT COUNT(value) FROM reading WHERE device = 'meter'")
        rest = {row["signal"] for row in await server.query("SELECT * FROM reading WHERE device = 'odd'")}
    assert rejected.value.indices == (40,)
    assert stored["count"] == 160
    assert rest == {"temperature", "pressure", "running", "recipe"}


async def test_d10_a_missing_database_is_named(tmp_path: Path) -> None:
    async with influxd(tmp_path) as server:
        options = InfluxDbOptions(type="influxdb", url=server.url, bucket="nowhere", org="wuxi")
        sink = InfluxDbSink("influxdb", options, Identity("gw1", "9f3a11c2"), LiveBoard([]), SystemClock())
        await sink.connect()
        with pytest.raises(SinkUnavailable, match="bucket 'nowhere' in org 'wuxi'") as refused:
            await sink.write(floats(1), history=False)
        assert refused.value.slow
        await sink.close()
