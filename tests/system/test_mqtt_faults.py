"""The MQTT sink and what goes wrong on the delivery side (faults D1-D7 of the specification)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.board import LiveBoard
from gateway.core.clock import SystemClock
from gateway.core.errors import Rejected, SinkUnavailable
from gateway.core.model import Batch
from gateway.health import SinkHealth, State
from gateway.journal.memory import MemoryJournal
from gateway.publish import publish
from gateway.sinks.mqtt import MqttSink
from tests.support.batches import COLUMNS, batch, device, floats
from tests.support.mosquitto import Subscriber, mosquitto
from tests.support.mqtt_scripted import Received, ScriptedBroker, scripted_broker
from tests.support.mqtt_sink import mqtt_sink
from tests.support.processes import program, run_to_end
from tests.support.proxy import proxy
from tests.support.waiting import until

pytestmark = pytest.mark.system

VERSIONS = pytest.mark.parametrize("version", ["3.1.1", "5"])


async def deliver(sink: MqttSink, batches: list[Batch], within_s: float = 30.0) -> int:
    """As the publisher does it: again and again until it counts. Returns how often it had to begin anew."""
    failures = 0
    async with asyncio.timeout(within_s):
        while True:
            try:
                if failures:
                    await sink.connect()
                await sink.write(batches, history=failures > 0)
            except SinkUnavailable:
                failures += 1
                await asyncio.sleep(0.05)
            else:
                return failures


def sequence(heard: list[Any]) -> list[int]:
    return [orjson.loads(each.payload)["seq"] for each in heard]


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedBroker]:
    async with scripted_broker() as broker:
        yield broker


# ---------------------------------------------------------------------------------------------- D1, D2: not there


async def test_d1_no_broker_and_no_name(unused_tcp_port: int) -> None:
    with pytest.raises(SinkUnavailable, match=f"127.0.0.1:{unused_tcp_port} cannot be reached"):
        await mqtt_sink(unused_tcp_port).connect()
    with pytest.raises(SinkUnavailable, match="cannot be reached"):
        await mqtt_sink(1883, host="no-such-host.invalid").connect()


@VERSIONS
async def test_d1_killed_and_started_in_the_middle_of_a_write(tmp_path: Path, version: str) -> None:
    async with mosquitto(tmp_path) as broker, proxy(broker.port) as way:
        sink = mqtt_sink(way.port, version=version, window=10)
        await sink.connect()
        way.delay(0.005)  # so that the end comes in the middle
        before: list[int] = []
        async with Subscriber(broker.port) as subscriber:
            write = asyncio.create_task(deliver(sink, floats(200)), name="write")
            await subscriber.hear("/data", 40)
            before = sequence(subscriber.of("/data"))
            await broker.restart()
            await until(subscriber._client.is_connected, "the subscriber is back")
            way.pass_on()
            assert await write >= 1
            await subscriber.hear("/meter/state", 1)
            await until(lambda: set(sequence(subscriber.of("/data"))) == set(range(1, 201)), "every batch arrived")
            heard = subscriber.of("/data")
        await sink.close()
    assert before == list(range(1, len(before) + 1))
    by_seq: dict[int, set[bytes]] = {}
    for each in heard:
        message = orjson.loads(each.payload)
        message.pop("history", None)
        by_seq.setdefault(message["seq"], set()).add(orjson.dumps(message))
    assert all(len(payloads) == 1 for payloads in by_seq.values()), "a re-send must say the same"


async def test_d2_a_frozen_broker_is_found_by_the_age_of_the_oldest_acknowledgement(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        sink = mqtt_sink(broker.port, timeout_s=0.6)
        await sink.connect()
        await sink.write(floats(3), history=False)
        broker.freeze()
        with pytest.raises(SinkUnavailable, match=r"has not acknowledged a message for 0\.6 s"):
            await sink.write(floats(3, first=4), history=False)
        with pytest.raises(SinkUnavailable, match="does not answer within"):
            await sink.connect()
        broker.thaw()
        await deliver(sink, floats(3, first=4))
        await until(lambda: set(sequence(subscriber.of("/data"))) == set(range(1, 7)), "everything is there")
        await sink.close()


async def test_d2_an_idle_half_open_connection_is_found_within_twice_the_keep_alive(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as broker:
        sink = mqtt_sink(broker.port, keepalive_s=3)
        await sink.connect()
        session = sink._session
        assert session
        broker.freeze()
        loop = asyncio.get_running_loop()
        frozen_at = loop.time()
        await until(lambda: session.error, "the session ends", within_s=8)
        assert loop.time() - frozen_at <= 6
        broker.thaw()
        with pytest.raises(SinkUnavailable, match="was lost"):
            await sink.write(floats(1), history=False)
        await sink.close()


async def test_d2_an_idle_gateway_notices_and_is_online_again_without_a_single_record(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as broker:
        journal, health = MemoryJournal(), SinkHealth("mqtt", "mqtt")
        await journal.open()
        clock = SystemClock()
        sink = mqtt_sink(broker.port, keepalive_s=2)
        delivering = asyncio.create_task(publish(sink, journal.cursor("mqtt"), health, clock), name="deliver")
        await until(lambda: health.state is State.ONLINE, "online")
        loop = asyncio.get_running_loop()
        frozen_at = loop.time()
        broker.freeze()
        await until(lambda: health.state is State.OFFLINE, "noticed", within_s=8)
        assert loop.time() - frozen_at <= 2 * 2
        broker.thaw()
        await until(lambda: health.state is State.ONLINE, "online again", within_s=15)
        assert health.connects == 2
        delivering.cancel()
        await asyncio.wait([delivering])
        await journal.close()


@VERSIONS
async def test_a_living_idle_connection_is_kept(tmp_path: Path, version: str) -> None:
    async with mosquitto(tmp_path) as broker:
        sink = mqtt_sink(broker.port, keepalive_s=1, version=version)
        await sink.connect()
        await asyncio.sleep(2.5)  # more than twice the keep-alive: time itself is what is tested
        await sink.write(floats(1), history=False)
        await sink.close()


# ------------------------------------------------------------------------------------------- D3: slow or strict


async def test_d3_receive_maximum_1_is_obeyed(scripted: ScriptedBroker) -> None:
    scripted.connack_properties = bytes([0x21, 0, 1])
    sink = mqtt_sink(scripted.port, LiveBoard([device(f"d{i}") for i in range(5)]))
    await sink.connect()
    await sink.write(floats(20), history=False)
    await sink.close()
    assert scripted.most_unacknowledged == 1
    assert [orjson.loads(each.payload)["seq"] for each in scripted.data()] == list(range(1, 21))


async def test_d3_our_own_window_is_obeyed(scripted: ScriptedBroker) -> None:
    sink = mqtt_sink(scripted.port, window=5)
    await sink.connect()
    await sink.write(floats(50), history=False)
    await sink.close()
    assert scripted.most_unacknowledged == 5


async def test_paho_sends_nothing_by_itself_after_a_reconnect(scripted: ScriptedBroker) -> None:
    scripted.puback = lambda message: None if message.topic.endswith("/data") else 0
    sink = mqtt_sink(scripted.port)
    await sink.connect()
    write = asyncio.create_task(sink.write(floats(5), history=False), name="write")
    await until(lambda: len(scripted.data(connection=1)) == 5, "five messages on the way")
    scripted.drop()
    with pytest.raises(SinkUnavailable):
        await write
    scripted.puback = lambda message: 0
    await sink.connect()
    await sink.write(floats(2, first=9), history=False)
    assert sequence(scripted.data(connection=2)) == [9, 10]
    assert not any(message.dup for message in scripted.received)
    await sink.close()


# ------------------------------------------------------------------------------------ D4: not let in, not allowed


async def test_d4_password_file_is_read_again_at_every_connect(tmp_path: Path) -> None:
    await run_to_end(program("mosquitto_passwd"), "-b", "-c", str(tmp_path / "users"), "plant", "right")
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    async with mosquitto(tmp_path, "allow_anonymous false", f"password_file {tmp_path / 'users'}") as broker:
        for version in ("3.1.1", "5"):
            sink = mqtt_sink(broker.port, version=version, username="plant", password_file=str(secret))
            secret.write_text("wrong\n")
            with pytest.raises(SinkUnavailable, match=r"password_file|not authorised") as refused:
                await sink.connect()
            assert refused.value.slow
            secret.write_text("right\n")
            await sink.connect()
            await sink.write(floats(1), history=False)
            await sink.close()


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "is empty"), (None, "cannot be read"), ("a\nb", "must hold one line"), ("a\0b", "must hold one line")],
)
async def test_d4_a_password_file_that_is_no_use(tmp_path: Path, content: str | None, says: str) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content)
    with pytest.raises(SinkUnavailable, match=says) as refused:
        await mqtt_sink(1883, username="plant", password_file=str(secret)).connect()
    assert refused.value.slow
    assert "plant" not in str(refused.value)


async def test_d4_a_topic_we_may_not_write_keeps_the_data(scripted: ScriptedBroker) -> None:
    sink = mqtt_sink(scripted.port)
    await sink.connect()
    scripted.puback = lambda message: 0x87
    with pytest.raises(SinkUnavailable, match="access list") as refused:
        await sink.write(floats(1), history=False)
    assert refused.value.slow
    await sink.close()


@pytest.mark.parametrize(
    ("code", "slow", "says"),
    [(0x84, True, "3.1.1"), (0x85, True, "client_id"), (0x88, False, "refuses"), (0x97, False, "refuses")],
)
async def test_d4_connack_codes(scripted: ScriptedBroker, code: int, slow: bool, says: str) -> None:
    scripted.connack = bytes([code])
    with pytest.raises(SinkUnavailable, match=says) as refused:
        await mqtt_sink(scripted.port).connect()
    assert refused.value.slow is slow


# ----------------------------------------------------------------------------------------------------- D5: PUBACK


async def test_d5_what_is_refused_for_good_is_named_and_the_rest_delivered(scripted: ScriptedBroker) -> None:
    codes = {2: 0x90, 5: 0x99, 6: 0x10}

    def puback(message: Received) -> int:
        return codes.get(orjson.loads(message.payload)["seq"], 0) if message.topic.endswith("/data") else 0

    scripted.puback = puback
    sink = mqtt_sink(scripted.port)
    await sink.connect()
    with pytest.raises(Rejected, match="0x9") as rejected:
        await sink.write(floats(8), history=False)
    assert rejected.value.indices == (1, 4)
    assert sequence(scripted.data()) == list(range(1, 9))
    await sink.close()


@pytest.mark.parametrize("code", [0x80, 0x83, 0x97])
async def test_d5_what_passes_is_tried_again_later(scripted: ScriptedBroker, code: int) -> None:
    sink = mqtt_sink(scripted.port)
    await sink.connect()
    scripted.puback = lambda message: code
    with pytest.raises(SinkUnavailable, match=f"0x{code:X}"):
        await sink.write(floats(3), history=False)
    scripted.puback = lambda message: 0
    await sink.write(floats(3), history=False)
    await sink.close()


async def test_d5_a_message_larger_than_the_broker_takes_is_not_sent(scripted: ScriptedBroker) -> None:
    scripted.connack_properties = bytes([0x27, 0, 0, 4, 0])  # maximum packet size 1024
    sink = mqtt_sink(scripted.port)
    await sink.connect()
    large = batch(("x" * 2000,), columns=COLUMNS[4:], seq=2)
    with pytest.raises(Rejected, match="1024 bytes at most") as rejected:
        await sink.write([*floats(1), large, *floats(1, first=3)], history=False)
    assert rejected.value.indices == (1,)
    assert sequence(scripted.data()) == [1, 3]
    await sink.close()


async def test_d5_a_limit_that_was_not_announced_is_learned(scripted: ScriptedBroker) -> None:
    large = batch(("x" * 2000,), columns=COLUMNS[4:], seq=2)

    def puback(message: Received) -> int | None:
        if len(message.payload) > 2000:
            scripted.drop(0x95)
            return None
        return 0

    scripted.puback = puback
    sink = mqtt_sink(scripted.port)
    await sink.connect()
    write = [*floats(1), large, *floats(1, first=3)]
    with pytest.raises(SinkUnavailable, match="found a message too large"):
        await sink.write(write, history=False)
    await sink.connect()
    with pytest.raises(Rejected, match="bytes at most") as rejected:
        await sink.write(write, history=True)
    assert rejected.value.indices == (1,)
    await sink.close()


# ----------------------------------------------------------------------------------------- D6, D7: take-over, restart


async def test_d6_mqtt_5_says_that_another_client_took_over(scripted: ScriptedBroker) -> None:
    sink = mqtt_sink(scripted.port)
    await sink.connect()
    scripted.drop(0x8E)
    await until(lambda: sink._session and sink._session.error, "we are told")
    with pytest.raises(SinkUnavailable, match="give every gateway its own client_id") as told:
        await sink.write(floats(1), history=False)
    assert told.value.slow
    await sink.close()


async def test_d6_a_takeover_storm_is_recognised_on_3_1_1(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as broker:
        ours = mqtt_sink(broker.port, client_id="same", version="3.1.1")
        told = None
        for _ in range(5):
            try:
                await ours.connect()
            except SinkUnavailable as error:
                told = error
                break
            other = mqtt_sink(broker.port, client_id="same", version="3.1.1")
            await other.connect()
            await until(lambda: ours._session and ours._session.error, "thrown out")
            await other.close()
        assert told is not None
        assert told.retry_after_s == 8, "slow enough to end the storm, and back within 10 s"
        assert "using the client id same" in str(told)


async def test_d7_a_broker_without_memory_gets_everything_retained_again(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as broker:
        sink = mqtt_sink(broker.port)
        await sink.connect()
        lane = asyncio.create_task(sink.live(), name="live lane")
        await broker.restart()
        await deliver(sink, floats(1))
        async with Subscriber(broker.port) as subscriber:
            await subscriber.hear("/meter/live")
        async with Subscriber(broker.port) as subscriber:
            await subscriber.hear("/meter/live")
            heard = {each.topic.rpartition("/")[2] for each in subscriber.heard if each.retain}
        assert heard == {"state", "meta", "live", "run"}
        lane.cancel()
        await asyncio.wait([lane])
        await sink.close()


# ----------------------------------------------------------------------------------------------------------- close


async def test_close_takes_at_most_two_seconds_and_leaves_nothing(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as broker:
        tasks = asyncio.all_tasks()
        sink = mqtt_sink(broker.port)
        await sink.connect()
        session = sink._session
        assert session
        broker.freeze()
        async with asyncio.timeout(2):
            await sink.close()
            await sink.close()
        broker.thaw()
        assert asyncio.all_tasks() == tasks
        assert session._fd == -1
