"""An MQTT subscriber of its own: counts what really arrives, so that the summary need not believe the gateway."""

from __future__ import annotations

import json
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.core.errors import GatewayError

PREFIX = "pilot/v1"


class Witness:
    """Counts ``data`` messages. No thread: ``work`` takes what has come since it was last called."""

    def __init__(self, port: int) -> None:
        self.messages = 0  # different ones
        self.values = 0  # readings in them, bad ones included
        self.subscribed = False  # from then on nothing is missed
        self._port = port
        self._seen: dict[str, tuple[str, int]] = {}  # topic → boot and seq of the newest; they come in order
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="demo-witness")
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._message

    def start(self) -> None:
        """Connect; raises GatewayError where there is no broker."""
        try:
            self._client.connect("127.0.0.1", self._port, keepalive=30)
        except OSError as error:
            raise GatewayError(f"the broker does not take a subscriber: {error.strerror or error}") from error

    def work(self) -> None:
        """Take everything that is there; raises GatewayError when the broker has hung up."""
        before = -1
        while before != self.messages:
            before = self.messages
            code = self._client.loop(timeout=0.0)
            if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise GatewayError(f"the broker has dropped the demonstration's subscriber: {code.name}")

    def stop(self) -> None:
        """Disconnect; may be called when never started."""
        self._client.disconnect()

    def _connected(
        self, client: Client, _data: Any, _flags: ConnectFlags, _code: ReasonCode, _properties: Properties | None
    ) -> None:
        client.subscribe(f"{PREFIX}/+/+/+/data", qos=1)

    def _on_subscribe(
        self, _client: Client, _data: Any, _mid: int, _codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self.subscribed = True

    def _message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        content = json.loads(message.payload)
        boot, seq = content["boot"], content["seq"]
        before = self._seen.get(message.topic, ("", 0))
        if before[0] != boot or seq > before[1]:
            self._seen[message.topic] = (boot, seq)
            self.messages += 1
            self.values += len(content["values"].keys() | content.get("bad", {}).keys())
