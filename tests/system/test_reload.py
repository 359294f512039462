"""A new configuration is followed while the gateway runs: only what changed is touched, a bad one changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml

from gateway.core.text import shortest_float32
from tests.support.counting_modbus import CountingModbus, answer_values
from tests.support.mosquitto import Mosquitto, Subscriber, mosquitto
from tests.support.processes import Process, free_port, gateway_command, run_process
from tests.support.waiting import until

pytestmark = pytest.mark.system

TAGS = 4
PERIOD_S = 0.1
BASE = "pilot/v1/wuxi/pl1"


class Plant:
    """Two instruments on links of their own, a broker, and a gateway whose files change while it runs."""

    def __init__(self, folder: Path, broker: Mosquitto, heard: Subscriber) -> None:
        self.folder = folder
        self.broker = broker
        self.heard = heard
        self.still, self.busy = CountingModbus(), CountingModbus()
        self.url = f"http://127.0.0.1:{free_port()}"
        self.sinks: dict[str, Any] = {"mqtt": {"host": "127.0.0.1", "port": broker.port}}
        self.more: dict[str, Any] = {}  # of gateway.yaml
        self.busy_devices = {"changing": TAGS}  # id → how many tags

    def write(self) -> Path:
        """The files as they are to be now."""
        (self.folder / "lines").mkdir(exist_ok=True)
        links = [_link("still", self.still, {"steady": TAGS}), _link("busy", self.busy, self.busy_devices)]
        _write(self.folder / "lines" / "pl1.yaml", {"line": "pl1", "links": links})
        gateway = {"gateway": "gw1", "site": "wuxi", "sinks": self.sinks, "api": {"port": int(self.url.split(":")[-1])}}
        return _write(self.folder / "gateway.yaml", {**gateway, "journal": {"directory": "journal"}, **self.more})

    async def reload(self, *, code: int = 200, **headers: str) -> dict[str, Any]:
        """Ask for it through the API."""
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            answer = await client.post(f"{self.url}/api/v1/reload", headers=headers)
        assert answer.status_code == code, answer.text
        content: dict[str, Any] = answer.json()
        return content

    async def status(self) -> dict[str, Any]:
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            content: dict[str, Any] = (await client.get(f"{self.url}/api/v1/status")).json()
        return content

    def data(self, device: str) -> list[dict[str, Any]]:
        """Its ``data`` messages."""
        return [orjson.loads(message.payload) for message in self.heard.of(f"/{device}/data")]

    async def more_data(self, device: str, count: int = 3) -> list[dict[str, Any]]:
        """When so many more of them were heard: those."""
        before = len(self.data(device))
        await until(lambda: len(self.data(device)) >= before + count, f"more data of {device}", 20)
        return self.data(device)[before:]

    async def retained(self, *devices: str) -> set[str]:
        """The topics of these devices that the broker shows to a newcomer."""
        async with Subscriber(self.broker.port) as newcomer:
            await newcomer.hear("/steady/data", 2, 20)  # published later, so all that is retained has come before
            return {m.topic for m in newcomer.heard if m.retain and m.topic.split("/")[-2] in devices}


def _link(name: str, server: CountingModbus, devices: dict[str, int]) -> dict[str, Any]:
    written = [
        {
            "id": device,
            "address": number,
            "period_s": PERIOD_S,
            "tags": [{"name": f"t{i}", "register": 2 * i, "type": "float32"} for i in range(tags)],
        }
        for number, (device, tags) in enumerate(devices.items(), 1)
    ]
    # an answer that a busy machine delays must not count as none
    where = {"type": "modbus-tcp", "host": "127.0.0.1", "port": server.port, "timeout_s": 20}
    return {"id": name, **where, "devices": written}


def _write(file: Path, content: object) -> Path:
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    async with mosquitto(tmp_path) as broker, Subscriber(broker.port) as heard:
        plant = Plant(tmp_path, broker, heard)
        await plant.still.start()
        await plant.busy.start()
        yield plant
        await plant.still.stop()
        await plant.busy.stop()


@contextlib.asynccontextmanager
async def serving(plant: Plant) -> AsyncIterator[Process]:
    command = gateway_command("serve", "--config", str(plant.write()))
    async with run_process(*command, ready="ready$", name="pilot-gateway") as gateway:
        await gateway.wait_for("the API listens")
        await plant.heard.hear("/steady/data")
        await plant.heard.hear("/changing/data")
        yield gateway


def check_unbroken(plant: Plant, device: str, server: CountingModbus, tags: Iterable[int] = range(TAGS)) -> None:
    """Every answer was published, each once, in order, and numbered without a gap."""
    messages = plant.data(device)
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    assert len({message["boot"] for message in messages}) == 1
    numbers = [int(message["values"]["t0"]) for message in messages]
    assert numbers == list(range(1, len(numbers) + 1)), "a reading was lost or doubled"
    for number, message in zip(numbers, messages, strict=True):
        said = shortest_float32(answer_values(number, TAGS))
        assert message["values"] == {f"t{i}": said[i] for i in tags}
    assert server.answers[1] - numbers[-1] <= 1


async def test_five_reloads_lose_nothing_on_the_link_that_did_not_change(plant: Plant) -> None:
    async with serving(plant) as gateway:
        await plant.more_data("steady")

        plant.busy_devices["changing"] = TAGS + 1  # 1: a tag more
        plant.write()
        told = await plant.reload()
        assert told["links"] == {"added": [], "removed": [], "changed": ["busy"]}
        assert told["devices"] == {"added": [], "removed": [], "changed": ["wuxi/pl1/changing"]}
        await until(lambda: "t4" in plant.data("changing")[-1]["values"], "the new tag is published")
        assert b'"t4"' in plant.heard.of("/changing/meta")[-1].payload

        plant.busy_devices["second"] = TAGS  # 2: a device more
        plant.write()
        assert (await plant.reload())["devices"]["added"] == ["wuxi/pl1/second"]
        await plant.more_data("second")
        await plant.more_data("changing")
        await plant.heard.hear("/second/live", 1, 20)
        assert {f"{BASE}/second/{what}" for what in ("meta", "state", "live")} <= await plant.retained("second")

        del plant.busy_devices["second"]  # 3: and gone again
        plant.write()
        assert (await plant.reload())["devices"]["removed"] == ["wuxi/pl1/second"]
        await until(lambda: plant.heard.of("/second/meta")[-1].payload == b"", "its meta is cleared")
        await until(lambda: plant.heard.of("/second/state")[-1].payload == b"", "its state is cleared")
        assert await plant.retained("second") == set()
        assert sum((await plant.status())["devices"].values()) == 2

        plant.busy_devices["second"] = TAGS  # 4: and there again: the numbering goes on within this boot
        plant.write()
        last = plant.data("second")[-1]["seq"]
        await plant.reload()
        assert (await plant.more_data("second"))[0]["seq"] == last + 1

        assert (await plant.reload())["links"] == {"added": [], "removed": [], "changed": []}  # 5: nothing

        status = await plant.status()
        assert status["configuration"]["reloads"] == 5
        [still] = [link for link in status["links"] if link["link"] == "still"]
        assert (still["connects"], still["failures"], still["silent_polls"]) == (1, 0, 0)
        await plant.more_data("steady")
        assert await gateway.stop() == 0
    check_unbroken(plant, "steady", plant.still)
    changing = [message["seq"] for message in plant.data("changing")]
    assert changing == list(range(1, len(changing) + 1))


async def test_a_bad_file_keeps_the_old_configuration_and_says_every_mistake(plant: Plant) -> None:
    async with serving(plant) as gateway:
        file = plant.write()
        good = file.read_text()
        file.write_text(good.replace("gateway: gw1", "gatway: gw1\napi2: {}"))
        told = await plant.reload(code=422)
        assert {mistake["key"] for mistake in told["mistakes"]} >= {"gatway", "api2"}
        assert all(mistake["line"] for mistake in told["mistakes"] if mistake["key"] in ("gatway", "api2"))
        await gateway.wait_for("the one before stays in force")
        await gateway.wait_for("gatway")
        configuration = (await plant.status())["configuration"]
        assert "gatway" in configuration["error"] or "mistakes" in configuration["error"]
        assert configuration["refused"] == 1
        for device in ("steady", "changing"):
            await plant.more_data(device)

        file.write_text(good)
        await plant.reload()
        assert (await plant.status())["configuration"]["error"] is None
        assert await gateway.stop() == 0
    check_unbroken(plant, "steady", plant.still)
    check_unbroken(plant, "changing", plant.busy)


async def test_sighup_does_the_same(plant: Plant) -> None:
    async with serving(plant) as gateway:
        plant.busy_devices["second"] = TAGS
        plant.write()
        gateway.send(signal.SIGHUP)
        await gateway.wait_for("the configuration was read again: .*wuxi/pl1/second")
        await plant.more_data("second")
        assert await gateway.stop() == 0
    check_unbroken(plant, "steady", plant.still)


async def test_a_sink_that_is_added_gets_what_the_box_still_has_and_one_that_is_gone_is_forgotten(plant: Plant) -> None:
    async with serving(plant) as gateway:
        await plant.more_data("steady")
        plant.sinks["second"] = {**plant.sinks["mqtt"], "type": "mqtt", "prefix": "copy", "client_id": "copy"}
        plant.write()
        assert (await plant.reload())["sinks"]["added"] == ["second"]
        await until(lambda: any(m.topic.startswith("copy/") for m in plant.heard.of("/steady/data")), "the copy")
        copied = [orjson.loads(m.payload) for m in plant.heard.of("/steady/data") if m.topic.startswith("copy/")]
        assert copied[0]["seq"] == 1, "what was read before the sink was added"

        del plant.sinks["second"]
        plant.write()
        assert (await plant.reload())["sinks"]["removed"] == ["second"]
        await gateway.wait_for("sink second is gone from the configuration")
        assert [sink["sink"] for sink in (await plant.status())["sinks"]] == ["mqtt"]
        assert await gateway.stop() == 0


async def test_what_only_a_restart_can_change_is_named_and_stays(plant: Plant) -> None:
    async with serving(plant) as gateway:
        plant.more = {"gateway": "other", "log": {"format": "json"}}
        plant.write()
        told = await plant.reload()
        assert told["log"] is True
        [sentence] = told["needs_restart"]
        assert "gw1" in sentence
        await gateway.wait_for('"message":"the configuration was read again: log changed')
        status = await plant.status()
        assert status["gateway"] == "gw1"
        assert status["configuration"]["needs_restart"] == [sentence]
        assert await gateway.stop() == 0


async def test_the_api_moves_after_it_has_answered(plant: Plant) -> None:
    async with serving(plant) as gateway:
        port = free_port()
        (plant.folder / "token").write_text("a-token-of-the-api\n")
        plant.more = {"api": {"port": port, "token_file": "token"}}
        plant.write()
        assert (await plant.reload())["api"] is True
        await gateway.wait_for(f"the API listens on http://127.0.0.1:{port}")
        plant.url = f"http://127.0.0.1:{port}"
        await plant.reload(code=401)
        await plant.reload(authorization="Bearer a-token-of-the-api")

        (plant.folder / "token").unlink()
        told = await plant.reload(code=422, authorization="Bearer a-token-of-the-api")
        assert told["mistakes"][0]["key"] == "api.token_file"
        assert "a-token-of-the-api" not in gateway.output
        assert await gateway.stop() == 0


async def test_a_page_of_a_foreign_site_cannot_ask_for_it(plant: Plant) -> None:
    async with serving(plant):
        await plant.reload(code=403, origin="http://evil.example")
        await plant.reload(code=403, host="evil.example")
        await asyncio.gather(plant.reload(), plant.reload(origin=plant.url))  # one after the other
        assert (await plant.status())["configuration"]["reloads"] == 2
