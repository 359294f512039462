"""Any batch that may come out of normalise, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from gateway.core.model import Batch, Column, Kind, Shape, Source, Value
from gateway.core.quality import GOOD, Status
from gateway.core.text import render

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        '"',
        "\\",
        '\\"',
        "a,b=c d",
        "\n",
        "x\r\ny",
        "\0",
        "电表",
        "#",
        "'",
        "\\\n",
        '"\nreading,site=x value=1 1',
        "\u2028",
    ]
)
SLUG = st.text("ab0", min_size=1, max_size=4) | st.sampled_from(["a-b", "x_y", "reactor-1", "0"])
UNIT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8) | st.sampled_from(
    ["Cel", "%", "kW.h", "10*3/uL", "m/s2", "{a,b}=c", "a\\", "\\", "°C"]
)
TIME = st.integers(0, 2**62)
VALUES: dict[Kind, st.SearchStrategy[Value]] = {
    Kind.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    Kind.INT: st.integers(-(2**63), 2**64 - 1),
    Kind.BOOL: st.booleans(),
    Kind.TEXT: TEXT,
}
STATUSES = [int(status) for status in Status] + [0x8000_0000, 0xFFFF_FFFF, 0x4000_0000]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """A batch of any kinds, qualities and times; None exactly where the status is bad."""
    kinds = draw(st.lists(st.sampled_from(Kind), min_size=1, max_size=6))
    names = draw(st.lists(SLUG, min_size=len(kinds), max_size=len(kinds), unique=True))
    columns = tuple(Column(name, kind, draw(UNIT)) for name, kind in zip(names, kinds, strict=True))
    source = Source(draw(SLUG), draw(SLUG), draw(SLUG), columns, draw(TEXT), draw(TEXT))
    index = tuple(draw(st.lists(st.sampled_from(range(len(columns))), min_size=1, unique=True)))
    status = draw(st.none() | st.tuples(*[st.sampled_from(STATUSES) for _ in index]))
    values = tuple(
        None if status and status[i] >= 0x8000_0000 else draw(VALUES[columns[at].kind]) for i, at in enumerate(index)
    )
    return Batch(
        shape=Shape(source, index),
        values=values,
        text=render(values),
        status=status if status and any(each != GOOD for each in status) else None,
        time_ns=draw(TIME),
        received_ns=draw(TIME),
        seq=draw(st.integers(0, 2**64 - 1)),
        boot=draw(st.sampled_from(["9f3a11c2", "00000000"])),
        times_ns=draw(st.none() | st.tuples(*[TIME for _ in index])),
        run=draw(st.just("") | TEXT),
        phase=draw(st.just("") | TEXT),
    )
