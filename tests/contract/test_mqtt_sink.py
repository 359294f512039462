"""The MQTT sink keeps the contract of sinks, on a real mosquitto, with both versions of the protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
import pytest

from gateway.board import LiveBoard
from gateway.core.clock import SystemClock
from gateway.core.contracts import Sink
from gateway.sinks import SINKS, Identity
from gateway.sinks.options import MqttOptions
from tests.contract.sink import OtherSide, Row, SinkContract
from tests.support.batches import device
from tests.support.mosquitto import Subscriber, mosquitto
from tests.support.proxy import Proxy, proxy

pytestmark = pytest.mark.system


@dataclass
class Broker:
    """Satisfies OtherSide."""

    way: Proxy
    subscriber: Subscriber
    version: Literal["3.1.1", "5"]

    def make(self) -> Sink:
        options = MqttOptions(type="mqtt", host="127.0.0.1", port=self.way.port, version=self.version, timeout_s=2)
        return SINKS["mqtt"].make("mqtt", options, Identity("gw1", "9f3a11c2"), LiveBoard([device()]), SystemClock())

    async def go(self) -> None:
        await self.way.refuse()

    async def come(self) -> None:
        await self.way.accept()

    async def stored(self) -> set[Row]:
        found: set[Row] = set()
        for heard in self.subscriber.of("/data"):
            message = orjson.loads(heard.payload)
            device_id = heard.topic.split("/")[-2]
            for tag in message["values"] | message.get("bad", {}):
                found.add((device_id, tag, message.get("times", {}).get(tag, message["time"])))
        return found


class TestMqttSink(SinkContract):
    @pytest.fixture(params=["3.1.1", "5"])
    async def side(self, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[OtherSide]:
        async with mosquitto(tmp_path) as broker, proxy(broker.port) as way, Subscriber(broker.port) as subscriber:
            yield Broker(way, subscriber, request.param)
