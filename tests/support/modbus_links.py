"""Modbus links for tests, made from the same options that a line file is read into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drivers.modbus.options import ModbusDevice, ModbusTag, ModbusTcp
from gateway.core.model import Device, Link, Tag


def make_tag(options: ModbusTag, device: ModbusDevice) -> Tag:
    """The core's tag."""
    return Tag(
        name=options.name,
        kind=options.value_kind(device),
        address=options.wire_address(device),
        unit=options.unit,
        scale=options.scale,
        offset=options.offset,
        period_ns=round((options.period_s or device.period_s) * 1e9),
    )


def make_device(options: ModbusDevice) -> Device:
    """The core's device, on line "line" of site "site"."""
    tags = tuple(make_tag(tag, options) for tag in options.tags)
    return Device("site", "line", options.id, tags, options, enabled=options.enabled)


def make_link(devices: Sequence[Mapping[str, Any]], port: int, timeout_s: float = 0.5, host: str = "127.0.0.1") -> Link:
    """A link "bus" to host:port with these devices, written as in a line file."""
    options = ModbusTcp.model_validate(
        {"id": "bus", "type": "modbus-tcp", "host": host, "port": port, "timeout_s": timeout_s}
        | {"devices": list(devices)}
    )
    return Link("bus", options.type, tuple(make_device(device) for device in options.devices), options)
