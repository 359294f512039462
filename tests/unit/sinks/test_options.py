"""What gateway.yaml may say about sinks."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.sinks.options import InfluxDbOptions, MqttOptions


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": "pilot/+/v1"},
        {"prefix": "pilot/#"},
        {"prefix": "/pilot"},
        {"prefix": "pilot//v1"},
        {"prefix": "pilot/"},
        {"prefix": "$SYS/pilot"},
        {"prefix": "pilöt"},
        {"prefix": "a\0b"},
        {"window": 0},
        {"window": 101},
        {"keepalive_s": 4},
        {"version": "3"},
        {"client_id": ""},
        {"client_id": "x" * 24},
        {"password": "x"},
        {"username": "u", "password": "x", "password_file": "/run/x"},
        {"tls": {"key_file": "x"}},
        {"tls": {"verify": False}},
        {"host": ""},
    ],
)
def test_mqtt_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MqttOptions.model_validate({"type": "mqtt", "host": "broker", **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "influx:8086"},
        {"bucket": ""},
        {"measurement": "#reading"},
        {"measurement": "_reading"},
        {"measurement": "my reading"},
        {"measurement": "a,b"},
        {"measurement": "a\nb"},
        {"extra_tags": ["area", "area"]},
        {"extra_tags": ["run"]},
        {"max_values": 99},
        {"token": "x", "token_file": "/run/x"},
    ],
)
def test_influxdb_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        InfluxDbOptions.model_validate({"type": "influxdb", "url": "http://db:8086", "bucket": "plant", **wrong})


def test_secrets_are_not_shown() -> None:
    mqtt = MqttOptions.model_validate({"type": "mqtt", "host": "b", "username": "u", "password": "hush"})
    influxdb = InfluxDbOptions.model_validate({"type": "influxdb", "url": "http://d", "bucket": "b", "token": "hush"})
    assert "hush" not in f"{mqtt!r} {mqtt} {influxdb!r} {influxdb.model_dump_json()} {mqtt.model_dump()}"


@pytest.mark.parametrize("measurement", ["reading", "pilot.reading-1", "测量"])
def test_measurements(measurement: str) -> None:
    options = {"type": "influxdb", "url": "http://d", "bucket": "b", "measurement": measurement}
    assert InfluxDbOptions.model_validate(options).measurement == measurement
