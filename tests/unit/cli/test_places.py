"""Links moved to other hosts and ports, and where the shipped configuration is."""

from __future__ import annotations

from typing import Any

import pytest

from drivers import DRIVERS
from gateway.api.views import address
from gateway.cli.places import config_folder, relocate
from gateway.cli.simulate import placed
from gateway.core.model import Link
from gateway.secret_texts import secrets_in
from gateway.settings import load_line_file
from gateway.settings.model import ApiOptions
from gateway.sinks.options import MqttOptions

SKID = load_line_file(config_folder() / "lines" / "reactor-skid.yaml")


def _link(type_: str, **options: Any) -> Link:
    """A link of a skid's kind with other options."""
    [sample, *_] = [link for link in SKID.links if link.type == type_]
    model = DRIVERS[type_].links[type_]
    assert isinstance(sample.options, model)
    return Link(sample.id, type_, sample.devices, sample.options.model_copy(update=options))


@pytest.mark.parametrize(
    ("endpoint", "host", "port", "moved"),
    [
        ("opc.tcp://plc:4840/path", "127.0.0.1", 5000, "opc.tcp://127.0.0.1:5000/path"),
        ("opc.tcp://plc:4840", None, 0, "opc.tcp://plc:0"),
        ("opc.tcp://plc", "10.0.0.1", None, "opc.tcp://10.0.0.1"),
        ("opc.tcp://plc:4840", "::1", 1, "opc.tcp://[::1]:1"),
    ],
)
def test_an_endpoint_moves(endpoint: str, host: str | None, port: int | None, moved: str) -> None:
    assert address(relocate(_link("opcua", endpoint=endpoint), host, port)) == moved


def test_a_modbus_link_moves_and_the_original_stays() -> None:
    link = _link("modbus-tcp", host="10.0.0.7", port=502)
    assert address(relocate(link, "127.0.0.1", 5020)) == "modbus-tcp://127.0.0.1:5020"
    assert address(relocate(link, port=0)) == "modbus-tcp://10.0.0.7:0"
    assert address(link) == "modbus-tcp://10.0.0.7:502"


def test_ports_count_up_per_protocol() -> None:
    moved = placed(SKID.links, "127.0.0.1", {"modbus": 5000, "opcua": 6000})
    assert [address(link).rpartition(":")[2] for link in moved] == ["5000", "5001", "6000"]
    free = placed(SKID.links, None, {"modbus": 0, "opcua": None})
    assert [address(link).rpartition(":")[2] for link in free] == ["0", "0", "4840"]


def test_every_secret_is_found_to_be_kept_out_of_the_logs() -> None:
    sinks = {
        "mqtt": MqttOptions.model_validate({"type": "mqtt", "host": "x", "username": "u", "password": "first-secret"})
    }
    api = ApiOptions.model_validate({"token": "second-secret"})
    assert set(secrets_in({"sinks": sinks, "api": [api]})) == {"first-secret", "second-secret"}
