"""What the README tells a technician to write is what the gateway accepts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from drivers.modbus.options import (
    Limits,
    ModbusMap,
    ModbusRtu,
    ModbusTag,
    ModbusTcp,
    ModbusTls,
    ModbusTlsFiles,
    ScaleFrom,
)
from drivers.modbus.plan import describe
from gateway.core.model import Kind
from gateway.core.options import LinkOptions, TagOptions
from gateway.settings.load import load_line_file

ROOT = Path(__file__).parents[3]
README = (ROOT / "drivers" / "modbus" / "README.md").read_text()


def test_the_examples_are_a_line_file(tmp_path: Path) -> None:
    file = tmp_path / "line.yaml"
    file.write_text("line: pl1\n" + "".join(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)))
    line = load_line_file(file, site="plant", templates=ROOT / "config" / "templates")
    (link,) = line.links
    assert [device.id for device in link.devices] == ["meter", "jacket", "vessel"]
    vessel = link.devices[2]
    assert [tag.kind for tag in vessel.tags] == [
        *(Kind.FLOAT, Kind.FLOAT, Kind.BOOL, Kind.FLOAT, Kind.TEXT, Kind.BOOL, Kind.TEXT)
    ]
    assert [row.request for row in describe(link) if row.device == "vessel"] == [
        "FC1 0x0000-0x0000, 1 bit",
        "FC3 0x000A-0x000A, 1 register",
        "FC4 0x0000-0x000E, 15 registers",
        "FC4 0x0064-0x006B, 8 registers",
    ]


@pytest.mark.parametrize(
    ("model", "inherited"),
    [
        (ModbusTcp, LinkOptions),
        (ModbusRtu, LinkOptions),
        (ModbusTls, LinkOptions),
        (ModbusTlsFiles, BaseModel),
        (ScaleFrom, BaseModel),
        (ModbusMap, BaseModel),
        (Limits, BaseModel),
        (ModbusTag, TagOptions),
    ],
)
def test_every_key_is_explained(model: type[BaseModel], inherited: type[BaseModel]) -> None:
    keys = {field.alias or name for name, field in model.model_fields.items() if name not in inherited.model_fields}
    assert [key for key in sorted(keys) if not re.search(rf"`((limits|tls)\.)?{key}`|{key}: ", README)] == (
        ["limits"] * (model is ModbusMap) + ["tls"] * (model is ModbusTls)
    )
