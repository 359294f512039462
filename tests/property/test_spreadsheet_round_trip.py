"""Whatever tags a device has, a spreadsheet of them says the same, and writing them changes nothing else."""

from __future__ import annotations

import string
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.modbus.notation import BASES, Base
from drivers.modbus.options import ModbusDevice, ModbusTag
from gateway.settings.line_edit import difference, with_tags
from gateway.settings.spreadsheet import in_chinese, read_rows, rows_of, tags_of, write_rows
from gateway.settings.translate import Mistakes
from gateway.settings.tree import Node, parse

texts = st.text(
    st.one_of(st.sampled_from("=+-@'\",;: #{}[]\n温度é"), st.characters(categories=("L", "N", "P", "S"))), max_size=12
).map(str.strip)
numbers = st.one_of(st.integers(-9999, 9999), st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: x or 0.0))
UNITS = ("1", "V", "kW.h", "%", "-Cel", "=1", "[pH]", "m3/h")


@st.composite
def tags(draw: st.DrawFn) -> list[dict[str, Any]]:
    word = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
    names = draw(st.lists(word, min_size=1, max_size=5, unique=True))
    return [draw(_tag(name)) for name in names]


@st.composite
def _tag(draw: st.DrawFn, name: str) -> dict[str, Any]:
    tag: dict[str, Any] = {"name": name, "register": draw(st.integers(0, 65_532))}
    optional: dict[str, st.SearchStrategy[Any]] = {
        "function": st.sampled_from([3, 4]),
        "type": st.sampled_from(["int16", "uint32", "float32", "float64", "int64"]),
        "word_order": st.sampled_from(["big", "little"]),
        "unit": st.sampled_from(UNITS),
        "scale": numbers.filter(bool),
        "offset": numbers,
        "deadband": st.floats(0, 1e6),
        "wrap": st.floats(1e9, 1e15),
        "period_s": st.sampled_from([0.5, 1, 60]),
        "names": st.fixed_dictionaries({}, optional={"en": texts, "zh": texts}),
        "description": texts,
        "invalid": st.lists(st.integers(0, 0x7FFF), max_size=2),
        "range": st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1]).map(list),
    }
    for key in draw(st.sets(st.sampled_from(sorted(optional)))):
        tag[key] = draw(optional[key])
    return tag


@given(tags(), st.sampled_from(BASES), st.sampled_from([3, 4]), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_rows_say_what_the_tags_say(
    wanted: list[dict[str, Any]], base: Base, function: int, chinese: bool, through_xlsx: bool
) -> None:
    device = ModbusDevice.model_validate({"id": "d", "function": function})
    rows = rows_of(wanted, ModbusTag, base, function)
    if chinese:
        rows[0] = in_chinese(rows[0])
    with TemporaryDirectory() as folder:
        file = Path(folder) / ("t.xlsx" if through_xlsx else "t.csv")
        write_rows(file, rows)
        back = read_rows(file)
    mistakes = Mistakes()
    sheet = tags_of(back, "t", ModbusTag, device, mistakes)
    assert [str(mistake) for mistake in mistakes.found] == []
    assert not list(difference(wanted, sheet.tags).lines())


BEFORE = (
    "# 头 📈\nline: pl1\nlinks:\n- id: b\n  devices:\n  - id: x\n    tags: [{name: z, register: 1}] # x\n  - id: d\n"
)
BLOCKS = (
    "    tags:\n    - {name: a, register: 0}   # gone\n    - name: b\n      register: 7\n",
    "    tags: [{name: a}]\n",
    "",
)
AFTER = "    # kept\n    period_s: 2\n\n  # next\n  - {id: e, tags: []}\n# end"


@given(tags(), st.sampled_from(BLOCKS), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_other_byte_of_the_line_file_stays(wanted: list[dict[str, Any]], block: str, windows: bool) -> None:
    before, text, after = BEFORE, BEFORE + block + AFTER, AFTER
    if windows:
        before, text, after = (part.replace("\n", "\r\n") for part in (before, text, after))
    new = with_tags(text, "d", wanted)
    assert new.startswith(before)
    lines = after.split("\n")
    assert [line for line in new[len(before) :].split("\n") if line in lines or "tags" not in line][
        -len(lines) + 2 :
    ] == (lines[2:])
    assert new.count("# kept") == new.count("# next") == 1
    tree, trouble = parse(new.encode(), "f")
    assert not trouble
    assert isinstance(tree, Node)
    (device,) = (each for each in tree.map["links"].items[0].map["devices"].items if each.text("id") == "d")
    assert device.map["period_s"].value == 2
    assert not list(difference(wanted, [tag.plain() for tag in device.map["tags"].items]).lines())
