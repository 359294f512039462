"""What an OPC UA server says of its variables goes the whole way of a value: API, meta, journal and its columns."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import orjson
import pytest

from gateway.app import App
from gateway.core.quality import Status
from gateway.settings import load
from gateway.sinks.mqtt_payload import meta
from tests.support.opcua_foreign import URI, SharedServer
from tests.support.processes import free_port
from tests.support.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]  # node-opcua takes its time to start

LINE = """\
line: pl1
links:
  - id: plc
    type: opcua
    endpoint: opc.tcp://127.0.0.1:%d/foreign
    security: {policy: None}
    timeout_s: 15
    devices:
      - id: reactor
        tags:
          - {name: temperature, node: "nsu=%s;s=Analog"}
          - {name: low, node: "nsu=%s;s=Analog", range: [0, 50]}
          - {name: state, node: "nsu=%s;s=State", kind: int}
          - {name: plain, node: "nsu=%s;s=Double", unit: "1"}
"""


async def test_units_ranges_and_names_of_the_server(server: SharedServer, tmp_path: Path) -> None:
    api = free_port()
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "pl1.yaml").write_text(LINE % (server.port, *[URI] * 4))
    file = tmp_path / "gateway.yaml"
    file.write_text(f"gateway: gw1\nsite: wuxi\napi: {{port: {api}}}\njournal: {{directory: journal}}\n")
    app = App(await asyncio.to_thread(load, file))
    running = asyncio.create_task(app.run(), name="app")
    try:
        (entry,) = app.board.states()
        await until(lambda: app.board.newest(entry.device).values[-1] is not None, "values", 60)
        await app.reload()  # nothing has changed: what the server said still holds
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            (device,) = (await client.get(f"http://127.0.0.1:{api}/api/v1/devices")).json()["devices"]
        temperature, low, state, plain = device["tags"]
        assert (temperature["unit"], temperature["low"], temperature["high"]) == ("Cel", 0.0, 200.0)
        assert (low["unit"], low["low"], low["high"]) == ("Cel", 0.0, 50.0)
        assert state["enum"] == {"0": "Idle", "1": "加热", "2": "Hold"}
        assert (plain["unit"], plain["low"]) == ("1", None)
        (entry,) = app.board.states()
        said = orjson.loads(meta("gw1", entry.device))["tags"]
        assert (said["temperature"]["unit"], said["temperature"]["range"]) == ("Cel", [0.0, 200.0])
        assert said["state"]["enum"]["1"] == "加热"
        (batch, *_) = await app.journal.cursor("reader").take(100, 1000)
        assert {column.name: column.unit for column in batch.shape.columns} == {
            "temperature": "Cel",
            "low": "Cel",
            "state": "1",
            "plain": "1",
        }
        status = {reading.tag: reading.status for reading in batch.readings()}
        assert status == {"temperature": 0, "low": Status.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED, "state": 0, "plain": 0}
    finally:
        app.stop()
        await running
