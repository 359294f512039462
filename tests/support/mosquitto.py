"""A real mosquitto for tests, and a subscriber that notes everything it hears."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.support.processes import Process, free_port, program, run_process
from tests.support.waiting import until


@dataclass(slots=True)
class Mosquitto:
    """A broker on loopback. ``settings`` are further lines of mosquitto.conf, after the listener's."""

    folder: Path
    settings: Sequence[str] = ("allow_anonymous true",)
    port: int = field(default_factory=free_port)
    process: Process | None = None
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def start(self) -> None:
        config = self.folder / f"mosquitto-{self.port}.conf"
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", *self.settings, "user root", ""]))
        running = run_process(program("mosquitto"), "-c", str(config), port=self.port)
        self.process = await self._stack.enter_async_context(running)

    def freeze(self) -> None:
        """Connections stay open, nothing answers."""
        assert self.process
        self.process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process
        self.process.send(signal.SIGCONT)

    async def kill(self) -> None:
        """At once; retained messages are gone."""
        if self.process:
            await self.process.kill()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        self.process = None
        await self._stack.aclose()


@contextlib.asynccontextmanager
async def mosquitto(folder: Path, *settings: str) -> AsyncIterator[Mosquitto]:
    """A running broker; anonymous and plain unless ``settings`` say otherwise."""
    broker = Mosquitto(folder, settings or ("allow_anonymous true",))
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


@dataclass(frozen=True, slots=True)
class Heard:
    """One message as it arrived."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    properties: Any


class Subscriber:
    """Hears everything, in a thread of its own, with MQTT 5 and quality of service 1."""

    def __init__(self, port: int, topics: str = "#", configure: Callable[[Client], None] = lambda client: None) -> None:
        self.heard: list[Heard] = []
        self._port = port
        self._topics = topics
        self._subscribed = threading.Event()
        client = self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_connect = lambda *_: (client.subscribe(self._topics, qos=1), None)[1]
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = self._on_message
        client.reconnect_delay_set(0, 1)
        configure(client)

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        self.heard.append(
            Heard(
                message.topic,
                bytes(message.payload),
                message.qos,
                bool(message.retain),
                bool(message.dup),
                message.properties,
            )
        )

    async def __aenter__(self) -> Subscriber:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        await until(self._subscribed.is_set, "the subscription stands")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.disconnect()
        await asyncio.get_running_loop().run_in_executor(None, self._client.loop_stop)

    def of(self, end: str) -> list[Heard]:
        """What was heard on topics that end so."""
        return [message for message in list(self.heard) if message.topic.endswith(end)]

    async def hear(self, end: str, count: int = 1, within_s: float = 10.0) -> list[Heard]:
        """Wait until so many messages were heard on topics that end so."""
        await until(lambda: len(self.of(end)) >= count, f"{count} messages on …{end}", within_s)
        return self.of(end)
