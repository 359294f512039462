"""What ``check`` advises about Modbus, and what it is silent about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from drivers import DRIVERS
from gateway.core.model import Link
from tests.support.modbus_links import make_link


def link(*devices: dict[str, Any], port: int | str = 1, type: str = "modbus-tcp") -> Link:  # noqa: A002
    return make_link(devices, port, type=type)


def device(name: str, address: int, *registers: int, **tag: Any) -> dict[str, Any]:
    return {"id": name, "address": address, "tags": [{"name": f"r{r}", "register": r, **tag} for r in registers]}


def advice(of: Link) -> tuple[str, ...]:
    return tuple(DRIVERS[of.type].advice_on(of))


@pytest.mark.parametrize(
    ("register", "tag", "wanted"),
    [
        (43_001, {}, "write register: 3000, function: 3"),
        (40_001, {"function": 4}, "write register: 0, function: 3"),
        (30_071, {"function": 4}, "write register: 70, function: 4"),
        (3000, {}, ""),
        (30_000, {}, ""),
        (50_000, {}, ""),
        (40_001, {"function": 1}, ""),
    ],
)
def test_an_address_as_the_manual_writes_it(register: int, tag: dict[str, Any], wanted: str) -> None:
    found = advice(link(device("d", 1, *(register, register + 2) if wanted else (register,), **tag)))
    assert len(found) == bool(wanted), "told once per device"
    assert all(sentence.endswith(wanted) and str(register) in sentence for sentence in found)


def test_a_template_means_what_it_says() -> None:
    made = link(device("inverter", 1, 40_072))
    assert advice(made)
    assert advice(replace(made, devices=tuple(replace(each, template="sun") for each in made.devices))) == ()


def test_one_device_under_two_names() -> None:
    (found,) = advice(link(device("a", 1, 5, 6), device("b", 1, 6), device("c", 2, 5), device("d", 1, 7)))
    assert found == "a and b have address 1 and read the same registers: two names for one device"
    assert advice(link(device("a", 1, 5), device("b", 1, 5) | {"enabled": False})) == ()
    bits = [{"name": "b", "register": 5, "type": "bit", "bit": bit} for bit in (0, 1)]
    parts = [{"id": f"part{i}", "address": 1, "tags": [tag]} for i, tag in enumerate(bits)]
    assert advice(link(*parts)) == ()


@pytest.mark.parametrize(("port", "told"), [("/dev/ttyUSB0", 1), ("/dev/ttyS1", 0), ("/dev/serial/by-id/usb-x", 0)])
def test_a_port_by_the_order_of_plugging(port: str, told: int) -> None:
    found = advice(link(device("a", 1, 5), port=port, type="modbus-rtu"))
    assert ["by-id" in sentence for sentence in found] == [True] * told
