from __future__ import annotations

import json
import struct

from hypothesis import given
from hypothesis import strategies as st

from gateway.core import text
from gateway.core.model import Column, Kind, Shape, Source, Value
from gateway.core.text import float32_column, parse, pieces, render, shortest_float32, shortest_float32_plain, speed_up

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
MEASURED = st.floats(2**-10, 2**36, width=32) | st.floats(-(2**36), -(2**-10), width=32) | st.just(0.0)


@given(st.lists(VALUES))
def test_what_is_rendered_comes_back_with_its_type(values: list[Value]) -> None:
    back = parse(render(values))
    assert back == tuple(values)
    assert list(map(type, back)) == list(map(type, values))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_float_shows_a_point(values: list[float]) -> None:
    for piece in render(values)[1:-1].split(b","):
        assert b"." in piece or b"e-" in piece


@given(st.lists(VALUES, min_size=1))
def test_pieces_are_the_texts_of_the_values(values: list[Value]) -> None:
    kinds = {float: Kind.FLOAT, int: Kind.INT, bool: Kind.BOOL, str: Kind.TEXT}
    columns = tuple(Column(f"t{i}", kinds.get(type(v), Kind.FLOAT), "1") for i, v in enumerate(values))
    shape = Shape(Source("s", "l", "d", columns), tuple(range(len(values))))
    assert [json.loads(piece) for piece in pieces(render(values), shape, values)] == values


@given(st.lists(FLOAT32, min_size=1))
def test_shortest_text_means_the_same_float32(values: list[float]) -> None:
    short = shortest_float32(values)
    assert struct.pack(f"{len(values)}f", *short) == struct.pack(f"{len(values)}f", *values)


@given(st.lists(st.floats(width=32), min_size=1))
def test_with_and_without_numpy_is_equal(values: list[float]) -> None:
    speed_up()
    assert text._numpy is not None, "the extra speed is not installed"
    assert repr(shortest_float32(values)) == repr(shortest_float32_plain(values))


@given(st.lists(MEASURED | st.floats(width=32), min_size=1))
def test_a_column_is_what_its_numbers_are_one_by_one(values: list[float]) -> None:
    speed_up()
    column = float32_column(struct.pack(f">{len(values)}f", *values))
    short = shortest_float32_plain(values)
    if column is not None:
        assert repr(column[0]) == repr(tuple(short))
        assert column[1] == render(short)


@given(st.lists(MEASURED, min_size=1))
def test_a_column_of_measurements_takes_one_pass(values: list[float]) -> None:
    speed_up()
    assert float32_column(struct.pack(f">{len(values)}f", *values)) is not None


def test_a_column_with_a_value_that_is_none_takes_another_way() -> None:
    speed_up()
    assert float32_column(struct.pack(">2f", 80.4, float("nan"))) is None
    assert float32_column(struct.pack(">2f", 80.4, float("-inf"))) is None
    assert float32_column(struct.pack(">2f", 80.4, 1e30)) is None
    assert float32_column(struct.pack(">3f", 80.4, -0.125, 65535)) == (
        (80.4, -0.125, 65535.0),
        b"[80.4,-0.125,65535.0]",
    )


def test_shortest_text_is_what_the_display_shows() -> None:
    raw = struct.unpack("4f", struct.pack("4f", 80.4, 0.1, 115.772705, 3.4028235e38))
    assert shortest_float32_plain(raw) == [80.4, 0.1, 115.772705, 3.4028235e38]
    assert shortest_float32_plain((float("nan"), float("inf"))) == [None, None]
