"""Whatever a batch holds: an independent parser finds in our lines what the batch says, and nothing else."""

from __future__ import annotations

from hypothesis import given

from gateway.core.model import Batch, Kind, Reading
from gateway.core.quality import quality_number
from gateway.sinks.line_protocol import LineEncoder
from tests.support.any_batch import batches
from tests.support.line_parser import FieldValue, parse_lines

FIELD = {Kind.FLOAT: "value", Kind.INT: "value_int", Kind.BOOL: "value_bool", Kind.TEXT: "value_text"}
TAGS = ["area", "device", "equipment", "line", "signal", "site", "unit"]


def shown(text: str) -> str:
    """A text as a string field shows it."""
    controls = {"\n": "\\n", "\r": "\\r"}
    return "".join(
        controls.get(c, f"\\x{ord(c):02x}") if (ord(c) < 32 and c != "\t") or ord(c) == 127 else c for c in text
    )


def tag(text: str) -> str:
    return "".join("_" if ord(c) < 32 or ord(c) == 127 or c == "\\" else c for c in text) or "-"


def expected_fields(reading: Reading, kind: Kind) -> dict[str, FieldValue]:
    fields: dict[str, FieldValue] = {}
    value, status = reading.value, reading.status
    if kind is Kind.INT and value is not None and not -(2**63) <= int(value) < 2**63:
        value, status = None, 0x803C0000
    if value is not None:
        fields[FIELD[kind]] = shown(value) if isinstance(value, str) else value
    fields["quality"] = quality_number(status)
    if status:
        fields["status"] = status
    if reading.run:
        fields["run"] = shown(reading.run)
        if reading.phase:
            fields["phase"] = shown(reading.phase)
    return fields


@given(batches())
def test_the_lines_say_what_the_batch_says(batch: Batch) -> None:
    points = parse_lines(LineEncoder("reading", ("area", "equipment")).encode(batch))
    source = batch.shape.source
    for point, reading, column in zip(points, batch.readings(), batch.shape.columns, strict=True):
        assert point.measurement == "reading"
        assert [key for key, _ in point.tags] == TAGS
        assert dict(point.tags) == {
            "area": tag(source.area),
            "device": reading.device,
            "equipment": tag(source.equipment),
            "line": reading.line,
            "signal": reading.tag,
            "site": reading.site,
            "unit": tag(reading.unit),
        }
        wanted = expected_fields(reading, column.kind)
        assert point.fields == wanted
        assert [type(point.fields[key]) for key in wanted] == [type(value) for value in wanted.values()]
        assert point.time_ns == reading.time_ns


@given(batches())
def test_line_by_line_and_at_once_are_the_same_bytes(batch: Batch) -> None:
    encoder = LineEncoder("reading")
    assert encoder.encode(batch) == b"".join(encoder.lines(batch)) == LineEncoder("reading").encode(batch)
