"""Modbus links for tests, made from the same options that a line file is read into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drivers.modbus.options import LINKS, ModbusDevice, ModbusTag
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
        wrap=options.wraps_at(),
        enum=options.names_of_numbers(),
        bits=options.names_of_bits(),
        period_ns=round((options.period_s or device.period_s) * 1e9),
    )


def make_device(options: ModbusDevice) -> Device:
    """The core's device, on line "line" of site "site"."""
    tags = tuple(make_tag(tag, options) for tag in options.tags)
    return Device("site", "line", options.id, tags, options, enabled=options.enabled)


def make_link(
    devices: Sequence[Mapping[str, Any]],
    port: int | str,
    timeout_s: float = 1.0,
    host: str = "127.0.0.1",
    type: str = "modbus-tcp",  # noqa: A002  # as a line file calls it
    **options: Any,
) -> Link:
    """A link "bus" to host:port, or to a serial port, with these devices, written as in a line file."""
    where = {"port": port} if type == "modbus-rtu" else {"host": host, "port": port}
    link = LINKS[type].model_validate(
        {"id": "bus", "type": type, "timeout_s": timeout_s, "devices": list(devices)} | where | options
    )
    return Link("bus", type, tuple(make_device(device) for device in link.devices), link)
