"""Walking the chain of models, and the tags of their points."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from drivers.modbus.options import ModbusDevice, ModbusTag
from drivers.modbus.sunspec import BASES, Ask, Block, discover, parse_model, tags_of, text_of
from tests.support.sunspec import METER, METER_DATA, PLATE, block, image

PUBLIC = Path(__file__).parents[4] / "shared" / "data" / "sunspec"
MODELS = {each["id"]: parse_model(each) for each in (PLATE, METER)}


def device(registers: bytes, base: int = 40_000, most: int = 125) -> Ask:
    async def ask(start: int, count: int) -> bytes | int:
        low, high = 2 * (start - base), 2 * (start - base + count)
        return registers[low:high] if low >= 0 and high <= len(registers) and count <= most else 2

    return ask


@pytest.mark.parametrize("base", BASES)
async def test_the_chain_is_walked_from_wherever_it_begins(base: int) -> None:
    found = await discover(device(image(), base))
    assert found is not None
    assert (found.base, found.note) == (base, "")
    assert [(each.model, each.register - base, each.length) for each in found.blocks] == [
        (1, 2, 9),
        (64_001, 13, 16),
        (64_001, 31, 16),
        (64_999, 49, 3),
    ]
    assert found.blocks[1].data == struct.pack(">HH", 64_001, 16) + METER_DATA


async def test_without_the_marker_nothing_is_found() -> None:
    assert await discover(device(b"SanS" + image()[4:])) is None


async def test_a_chain_that_breaks_off_keeps_what_was_read() -> None:
    found = await discover(device(image()[:-4]))
    assert found is not None
    assert len(found.blocks) == 4
    assert "without its end mark" in found.note
    cut = await discover(device(image()[:80]))
    assert cut is not None
    assert [each.model for each in cut.blocks] == [1, 64_001]
    assert "64001 at 40031 cannot be read" in cut.note


async def test_a_chain_without_an_end_ends() -> None:
    async def ask(start: int, count: int) -> bytes | int:
        return b"SunS" if start == 40_000 else bytes(2 * count)

    found = await discover(ask)
    assert found is not None
    assert "makes no sense" in found.note


async def test_a_long_model_is_read_in_pieces() -> None:
    data = bytes(range(200)) * 3
    found = await discover(device(b"SunS" + block(7, data) + b"\xff\xff\0\0"))
    assert found is not None
    assert found.blocks[0].data[4:] == data


def tags() -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    data = struct.pack(">HH", 64_001, len(METER_DATA) // 2) + METER_DATA
    made = tags_of([Block(64_001, 100, len(METER_DATA) // 2, data)], MODELS)
    return {tag["name"]: tag for tag in made.tags}, made.absent


def test_points_become_tags_with_the_registers_of_their_scale_factors() -> None:
    made, absent = tags()
    assert list(made) == ["w", "ph_vph_a", "tot_wh_exp", "st", "evt", "flow", "n", "dcv_string_1", "dcv_string_2"]
    assert made["w"] == {
        "name": "w", "register": 102, "type": "int16", "invalid": [0x8000], "scale_from": {"register": 103},
        "unit": "W", "names": {"en": "Watts"},
    }  # fmt: skip
    assert made["ph_vph_a"]["scale"] == pytest.approx(0.1)
    assert (made["tot_wh_exp"]["type"], made["tot_wh_exp"]["unit"]) == ("acc32", "W.h")
    assert made["tot_wh_exp"]["scale_from"] == {"register": 103}
    assert made["st"]["enum"] == {"1": "OFF", "2": "ON"}
    assert made["evt"]["bits"] == {"0": "HOT", "3": "COLD"}
    assert "unit" not in made["flow"]
    assert absent == ("tmp",)


def test_groups_repeat_as_often_as_their_point_says_each_with_its_own_scale_factor() -> None:
    made, _ = tags()
    assert [made[f"dcv_string_{i}"]["register"] for i in (1, 2)] == [114, 116]
    assert [made[f"dcv_string_{i}"]["scale_from"] for i in (1, 2)] == [{"register": 115}, {"register": 117}]


def test_points_of_one_name_in_two_blocks_get_names_of_their_own() -> None:
    data = struct.pack(">HH", 64_001, len(METER_DATA) // 2) + METER_DATA
    made = tags_of([Block(64_001, at, len(METER_DATA) // 2, data) for at in (100, 200)], MODELS)
    names = [tag["name"] for tag in made.tags]
    assert len(set(names)) == len(names)
    assert {"m64001_w", "m64001_2_w"} <= set(names)


def test_a_shorter_block_than_the_model_has_only_the_points_that_fit() -> None:
    data = struct.pack(">HH", 64_001, 3) + METER_DATA[:6]
    assert [tag["name"] for tag in tags_of([Block(64_001, 100, 3, data)], MODELS).tags] == ["w", "ph_vph_a"]


async def test_the_type_plate_is_read() -> None:
    found = await discover(device(image()))
    assert found is not None
    assert text_of(found.blocks[0], MODELS[1], "Mn") == "Acme"


@pytest.mark.parametrize(
    "wrong", [{}, [], {"id": 1, "group": {"name": "x"}}, {"id": 1, "group": {"name": "x", "points": [1]}}]
)
def test_what_is_no_model_is_a_sentence(wrong: Any) -> None:
    with pytest.raises(ValueError, match="is no SunSpec model definition"):
        parse_model(wrong)


@pytest.mark.parametrize("number", [1, 103, 203])
def test_the_public_models_make_tags_that_the_gateway_takes(number: int) -> None:
    file = PUBLIC / f"model_{number}.json"
    if not file.is_file():
        pytest.skip("the public model definitions are not beside the repository (sunspec/models)")
    model = parse_model(json.loads(file.read_bytes()))
    length = sum(point.size for point in model.points) - 2
    data = struct.pack(">HH", number, length) + b"\x41" * 2 * length
    made = tags_of([Block(number, 40_002, length, data)], {number: model})
    unit = ModbusDevice(id="d")
    for tag in made.tags:
        options = ModbusTag.model_validate_json(json.dumps(tag), strict=True)
        options.wire_address(unit)
    units = {tag["name"]: tag.get("unit") for tag in made.tags}
    if number == 103:
        assert {"w": "W", "hz": "Hz", "wh": "W.h", "tmp_cab": "Cel"}.items() <= units.items()
        registers = {tag["name"]: tag for tag in made.tags}
        assert registers["w"]["register"] == 40_002 + 14
        assert registers["w"]["scale_from"] == {"register": 40_002 + 15}
        assert registers["st"]["enum"]["4"] == "MPPT"
