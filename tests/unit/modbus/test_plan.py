"""The plans of instruments we know; the rules themselves are in tests/property."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from drivers.modbus.options import Limits, ModbusTemplate
from drivers.modbus.plan import addresses_of, describe, limits_of, plan
from gateway.core.contracts import PlanRow
from gateway.core.model import groups
from tests.support.modbus_links import make_link

TEMPLATES = Path(__file__).parents[3] / "config" / "templates"

PLANS = {
    "eastron-sdm630": [
        "FC4 0x0000-0x000B, 12 registers",
        "FC4 0x0034-0x004B, 24 registers",
        "FC4 0x0156-0x0157, 2 registers",
    ],
    "eurotherm-3216": ["FC3 0x0001-0x0027, 39 registers"],
    "siemens-fc310": ["FC3 0x0BB8-0x0BBD, 6 registers"],
    "schneider-iem3000": [
        "FC3 0x0BB7-0x0BB8, 2 registers",
        "FC3 0x0BD3-0x0BD4, 2 registers",
        "FC3 0x0BF3-0x0C04, 18 registers",
        "FC3 0x0C25-0x0C26, 2 registers",
        "FC3 0x0C83-0x0C8A, 8 registers",
    ],
}


def device_of(template: str) -> dict[str, Any]:
    written = yaml.safe_load((TEMPLATES / f"{template}.yaml").read_text())
    ModbusTemplate.model_validate(written)
    return {"id": "d", **{key: written[key] for key in ("function", "limits", "tags")}}


@pytest.mark.parametrize("template", PLANS)
def test_plans_of_the_templates(template: str) -> None:
    rows = describe(make_link([device_of(template)], 0))
    assert [row.request for row in rows] == PLANS[template]


def test_a_slow_tag_is_read_with_its_own_period() -> None:
    tags = [{"name": "fast", "register": 0}, {"name": "slow", "register": 1, "period_s": 60}]
    assert describe(make_link([{"id": "d", "tags": tags}, {"id": "off", "enabled": False, "tags": tags}], 0)) == (
        PlanRow("d", 1.0, "FC3 0x0000-0x0000, 1 register", 1),
        PlanRow("d", 60.0, "FC3 0x0001-0x0001, 1 register", 1),
    )


def test_a_request_never_ends_beyond_the_last_register() -> None:
    device = make_link(
        [{"id": "d", "limits": {"even_count": True}, "tags": [{"name": "last", "register": 65535}]}], 0
    ).devices[0]
    (group,) = groups(device)
    (block,) = plan(addresses_of(group), limits_of(device))
    assert (block.start, block.count) == (65534, 2)


def test_a_value_beyond_the_limits_is_refused() -> None:
    device = make_link([{"id": "d", "tags": [{"name": "v", "register": 0, "type": "int64"}]}], 0).devices[0]
    (group,) = groups(device)
    with pytest.raises(ValueError, match="a value of 4 registers at 0 exceeds the limits"):
        plan(addresses_of(group), Limits(max_registers=3))
