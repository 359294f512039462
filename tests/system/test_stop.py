"""SIGTERM: the gateway is gone within 5 s, however slow disk, broker and database are, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from gateway.app import App
from gateway.journal.memory import MemoryJournal
from gateway.settings import load
from tests.support.counting_modbus import CountingModbus
from tests.support.http_scripted import Answer, ScriptedHttp, scripted_http
from tests.support.mosquitto import Mosquitto, Subscriber, mosquitto
from tests.support.processes import gateway_command, run_process
from tests.support.waiting import until

pytestmark = pytest.mark.system

PROMISE_S = 5.0


def _files(folder: Path, modbus: CountingModbus, broker: Mosquitto, database: ScriptedHttp) -> Path:
    (folder / "lines").mkdir()
    tags = [{"name": f"t{i}", "register": 2 * i, "type": "float32"} for i in range(4)]
    where = {"type": "modbus-tcp", "host": "127.0.0.1", "port": modbus.port, "timeout_s": 20}
    link = {"id": "bus", **where, "devices": [{"id": "meter", "address": 1, "period_s": 0.05, "tags": tags}]}
    (folder / "lines" / "pl1.yaml").write_text(yaml.safe_dump({"line": "pl1", "links": [link]}))
    sinks = {"mqtt": {"host": "127.0.0.1", "port": broker.port}, "influxdb": {"url": database.url, "bucket": "pilot"}}
    gateway = {"gateway": "gw1", "site": "wuxi", "sinks": sinks, "api": {"port": 0}}
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump({**gateway, "journal": {"directory": str(folder / "journal")}}))
    return file


async def test_m7_with_a_frozen_broker_and_a_silent_database(tmp_path: Path) -> None:
    modbus = CountingModbus()
    await modbus.start()
    async with mosquitto(tmp_path) as broker, Subscriber(broker.port) as heard, scripted_http() as database:
        command = gateway_command("serve", "--config", str(_files(tmp_path, modbus, broker, database)))
        async with run_process(*command, ready="ready$") as gateway:
            await heard.hear("/meter/data", 5)
            await until(lambda: database.asked, "the database is written to")
            broker.freeze()
            database.answer = lambda asked: Answer(silent=True)
            answers = modbus.answers[1]
            await until(lambda: modbus.answers[1] > answers + 40, "a queue", 30)
            told = time.monotonic()
            gateway.send(signal.SIGTERM)
            assert await gateway.wait_ended() == 0
            took_s = time.monotonic() - told
        answers = modbus.answers[1]
        assert "did not stop within" not in gateway.output
        assert took_s <= PROMISE_S
        broker.thaw()
        database.answer = lambda asked: Answer()
        async with run_process(*command, ready="ready$") as gateway:
            await until(lambda: len(_first_boot(heard)) >= answers - 1, "what was accepted", 30)
            assert await gateway.stop() == 0
        await modbus.stop()
    assert _first_boot(heard)[: answers - 1] == list(range(1, answers))


def _first_boot(heard: Subscriber) -> list[int]:
    """The numbers of what the first process accepted, repeats left out."""
    messages: list[dict[str, Any]] = [orjson.loads(each.payload) for each in heard.of("/meter/data")]
    return sorted({message["seq"] for message in messages if message["boot"] == messages[0]["boot"]})


class SlowDisk(MemoryJournal):
    """A journal whose disk has stopped answering: flush never returns, and close takes all the time it may."""

    async def flush(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        await asyncio.sleep(2)


async def test_m7_with_a_disk_that_hangs(tmp_path: Path) -> None:
    modbus = CountingModbus()
    await modbus.start()
    async with mosquitto(tmp_path) as broker, scripted_http() as database:
        app = App(load(_files(tmp_path, modbus, broker, database)))
        app.journal = SlowDisk()
        running = asyncio.create_task(app.run(), name="gateway")
        await until(lambda: modbus.answers.get(1, 0) > 3, "it polls")
        await until(lambda: app.health.sinks["mqtt"].connects, "the broker is there")
        broker.freeze()
        told = time.monotonic()
        app.stop()
        await running
        assert time.monotonic() - told <= PROMISE_S
        broker.thaw()
        await modbus.stop()
