"""An MQTT sink as tests want it."""

from __future__ import annotations

from typing import Any

from gateway.board import LiveBoard
from gateway.core.clock import SystemClock
from gateway.core.contracts import Board
from gateway.sinks import Identity
from gateway.sinks.mqtt import MqttSink
from gateway.sinks.options import MqttOptions
from tests.support.batches import device


def mqtt_sink(port: int, board: Board | None = None, **options: Any) -> MqttSink:
    keepalive_s = options.pop("keepalive_s", 30)
    chosen = MqttOptions(type="mqtt", host=options.pop("host", "127.0.0.1"), port=port, **options)
    chosen = chosen.model_copy(update={"keepalive_s": keepalive_s})  # shorter than what a file may say
    return MqttSink("mqtt", chosen, Identity("gw1", "9f3a11c2"), board or LiveBoard([device()]), SystemClock())
