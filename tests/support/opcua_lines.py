"""Links for tests of OPC UA, as the settings would make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drivers.opcua.options import OpcUa, OpcUaDevice, OpcUaTag
from gateway.core.model import Device, Link, Tag

PLANT = "urn:test:plant"
SPARE = "urn:test:spare"

Tags = Sequence[Mapping[str, Any]]


def make_link(
    port: int,
    devices: Mapping[str, Tags],
    *,
    pki: Path | None = None,
    path: str = "",
    modes: Mapping[str, str] | None = None,
    **options: Any,
) -> Link:
    """A link to 127.0.0.1:port; ``devices``: id → tags as a technician writes them; ``options``: of the link."""
    parsed = OpcUa.model_validate(
        {
            "id": "plc",
            "type": "opcua",
            "endpoint": f"opc.tcp://127.0.0.1:{port}{path}",
            "security": {"policy": "None"},
            "timeout_s": 15.0,  # of a machine that is busy with other tests
            "pki": str(pki) if pki else "/nonexistent/pki",
            "devices": [
                {"id": name, "period_s": 0.05, "mode": (modes or {}).get(name, "subscribe"), "tags": tags}
                for name, tags in devices.items()
            ],
            **options,
        }
    )
    return Link("plc", "opcua", tuple(make_device(device) for device in parsed.devices), parsed)


def make_device(options: OpcUaDevice) -> Device:
    return Device("site", "line", options.id, tuple(make_tag(tag, options) for tag in options.tags), options)


def make_tag(options: OpcUaTag, device: OpcUaDevice) -> Tag:
    low, high = options.range or (None, None)
    return Tag(
        name=options.name,
        kind=options.value_kind(device),
        address=options.wire_address(device),
        unit=options.unit,
        unit_given="unit" in options.model_fields_set,
        scale=options.scale,
        offset=options.offset,
        low=low,
        high=high,
        deadband=options.deadband,
        period_ns=round((options.period_s or device.period_s) * 1e9),
    )
