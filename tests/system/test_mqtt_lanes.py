"""The MQTT sink against a real mosquitto: what arrives on which topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.board import LiveBoard
from gateway.core.clock import SystemClock
from gateway.core.contracts import Board
from gateway.core.quality import Status
from gateway.health import State
from gateway.sinks import Identity
from gateway.sinks.mqtt import MqttSink
from gateway.sinks.options import MqttOptions
from tests.support.batches import COLUMNS, T0, batch, device, floats, say
from tests.support.mosquitto import Mosquitto, Subscriber, mosquitto

pytestmark = pytest.mark.system

VERSIONS = pytest.mark.parametrize("version", ["3.1.1", "5"])
IDENTITY = Identity("gw1", "9f3a11c2")


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with mosquitto(tmp_path) as running:
        yield running


def make(broker: Mosquitto, board: Board, **options: Any) -> MqttSink:
    chosen = MqttOptions(type="mqtt", host="127.0.0.1", port=broker.port, **options)
    return MqttSink("mqtt", chosen, IDENTITY, board, SystemClock())


@asynccontextmanager
async def living(sink: MqttSink) -> AsyncIterator[None]:
    """Connected, with its live lane running."""
    await sink.connect()
    lane = asyncio.create_task(sink.live(), name="live lane")
    try:
        yield
    finally:
        lane.cancel()
        await asyncio.wait([lane])
        await sink.close()


@VERSIONS
async def test_every_batch_arrives_once_and_in_order(broker: Mosquitto, version: str) -> None:
    meter = device()
    sink = make(broker, LiveBoard([meter]), version=version, window=7)
    async with Subscriber(broker.port) as subscriber, living(sink):
        await sink.write(floats(250), history=False)
        await sink.write(floats(50, first=251), history=True)
        heard = await subscriber.hear("/meter/data", 300)
    messages = [orjson.loads(each.payload) for each in heard]
    assert [message["seq"] for message in messages] == list(range(1, 301))
    assert [message.get("history", False) for message in messages] == [False] * 250 + [True] * 50
    assert {each.topic for each in heard} == {"pilot/v1/wuxi/pl1/meter/data"}
    assert {(each.qos, each.retain, each.dup) for each in heard} == {(1, False, False)}
    assert messages[0]["values"] == {"temperature": 80.125, "pressure": 1.5}


async def test_properties_of_mqtt_5(broker: Mosquitto) -> None:
    board = LiveBoard([meter := device()])
    sink = make(broker, board)
    async with Subscriber(broker.port) as subscriber, living(sink):
        await sink.write([batch((80.4,), columns=COLUMNS[:1])], history=False)
        (data,) = await subscriber.hear("/meter/data")
        (live,) = await subscriber.hear("/meter/live")
    assert data.properties.ContentType == "application/json"
    assert data.properties.UserProperty == [("schema", "pilot.batch/1"), ("gateway", "gw1")]
    assert 0 < live.properties.MessageExpiryInterval <= 600
    assert meter.path == "wuxi/pl1/meter"


@VERSIONS
async def test_retained_topics_tell_a_late_subscriber_everything(broker: Mosquitto, version: str) -> None:
    board = LiveBoard([device("meter"), device("reactor")])
    board.set_state(device("reactor"), State.DEGRADED, "no answer from 40001", T0)
    sink = make(broker, board, version=version)
    async with living(sink):
        say(board, device("meter"), (80.4, 1.02, 2**60, True, "A,1"))
        async with Subscriber(broker.port) as early:
            await early.hear("/meter/live")
        async with Subscriber(broker.port) as late:
            await late.hear("/live", 2)
            heard = {each.topic.removeprefix("pilot/v1/"): orjson.loads(each.payload) for each in late.heard}
            assert all(each.retain for each in late.heard)
    assert heard["gateways/gw1/state"]["state"] == "online"
    assert heard["wuxi/pl1/meter/state"] == {"state": "online", "since": 1763800000123}
    assert heard["wuxi/pl1/reactor/state"]["error"] == "no answer from 40001"
    assert heard["wuxi/pl1/run"] == {"state": "idle"}
    assert heard["wuxi/pl1/meter/meta"]["tags"]["temperature"]["unit"] == "Cel"
    assert heard["wuxi/pl1/meter/meta"]["names"] == {"en": "Meter", "zh": "电表"}
    live = heard["wuxi/pl1/meter/live"]
    assert (live["temperature"], live["counter"], live["recipe"]) == (80.4, str(2**60), "A,1")
    assert heard["wuxi/pl1/reactor/live"]["_time"] is None
    assert heard["wuxi/pl1/reactor/live"]["_bad"]["temperature"] == "bad"


async def retained(broker: Mosquitto) -> set[str]:
    """Where the broker shows something to a newcomer, but for the gateway itself."""
    async with Subscriber(broker.port) as newcomer:
        await newcomer.hear("gw1/state")
        await newcomer.hear("/run")  # both are published after all that may be cleared
        return {each.topic for each in newcomer.heard if each.payload and "/gateways/" not in each.topic}


async def test_what_is_taken_out_while_the_gateway_is_stopped_is_cleared_at_the_next_start(
    broker: Mosquitto, tmp_path: Path
) -> None:
    meter, gone = device("meter"), device("gone")
    identity = Identity("gw1", "9f3a11c2", tmp_path)
    options = MqttOptions(type="mqtt", host="127.0.0.1", port=broker.port)
    first = MqttSink("mqtt", options, identity, LiveBoard([meter, gone]), SystemClock())
    async with living(first), Subscriber(broker.port) as subscriber:
        await subscriber.hear("/gone/live", 1)
        await subscriber.hear("/meter/live", 1)
    before = await retained(broker)
    assert {f"pilot/v1/wuxi/pl1/gone/{what}" for what in ("live", "state", "meta")} <= before
    sink = MqttSink("mqtt", options, identity, LiveBoard([meter]), SystemClock())
    await sink.connect()
    await sink.close()
    assert await retained(broker) == {topic for topic in before if "/gone/" not in topic}


async def test_a_change_of_quality_is_shown_at_once_and_new_values_at_their_interval(broker: Mosquitto) -> None:
    board = LiveBoard([meter := device()])
    sink = make(broker, board, live_interval_s=3600)
    async with Subscriber(broker.port) as subscriber, living(sink):
        await subscriber.hear("/live", 1)
        say(board, meter, (1.0, 1.0, 1, True, "a"))  # good now: urgent
        await subscriber.hear("/live", 2)
        say(board, meter, (2.0, 1.0, 1, True, "a"))  # as good as before: not before its interval
        say(board, meter, (None, None, None, None, None), Status.BAD_COMMUNICATION_ERROR)
        heard = await subscriber.hear("/live", 3)
        say(board, meter, (2.0, 1.0, 1, True, "a"), run="pl1-1", phase="heat")
        await subscriber.hear("/run", 2)
        board.set_state(meter, State.OFFLINE, "unplugged", T0)
        await subscriber.hear("/meter/state", 3)  # not reached yet, online, gone
    assert [orjson.loads(each.payload)["temperature"] for each in heard] == [None, 1.0, None]
    assert orjson.loads(subscriber.of("/run")[-1].payload) == {"state": "running", "run": "pl1-1", "phase": "heat"}
    assert orjson.loads(subscriber.of("/meter/state")[-1].payload)["error"] == "unplugged"


@VERSIONS
async def test_the_last_will_says_offline_and_a_clean_stop_says_so_itself(broker: Mosquitto, version: str) -> None:
    sink = make(broker, LiveBoard([device()]), version=version)
    async with Subscriber(broker.port, "pilot/v1/gateways/+/state") as subscriber:
        await sink.connect()
        await subscriber.hear("gw1/state", 1)
        await sink.close()
        stopped = (await subscriber.hear("gw1/state", 2))[-1]
        await sink.connect()
        await subscriber.hear("gw1/state", 3)
        assert sink._session is not None
        sink._session._close_socket()  # as a crash would: no DISCONNECT
        died = (await subscriber.hear("gw1/state", 4))[-1]
        await sink.close()
    assert [orjson.loads(each.payload)["state"] for each in subscriber.heard] == ["online", "offline"] * 2
    assert "since" in orjson.loads(stopped.payload)
    assert orjson.loads(died.payload)["state"] == "offline"
    assert "since" not in orjson.loads(died.payload)


async def test_live_messages_are_not_piled_up_behind_a_socket_that_does_not_drain(broker: Mosquitto) -> None:
    board = LiveBoard([meter := device()])
    sink = make(broker, board, live_interval_s=0.01)
    async with living(sink):
        say(board, meter, (1.0, 1.0, 1, True, "x" * 200_000))
        broker.freeze()
        assert sink._session
        sock = sink._session._socket
        assert sock
        for _ in range(200):
            say(board, meter, (1.0, 1.0, 1, True, "x" * 200_000))
            await asyncio.sleep(0.005)
        assert 0 < sock.queued - sock.sent < 500_000
        broker.thaw()
