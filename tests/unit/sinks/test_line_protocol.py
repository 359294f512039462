"""The narrow layout, byte for byte."""

from __future__ import annotations

import pytest

from gateway.core.model import Column, Kind
from gateway.core.quality import Status
from gateway.sinks.line_protocol import LineEncoder, escape_measurement, escape_tag, quote
from tests.support.batches import COLUMNS, T0, batch

HEAD = b"reading,device=meter,line=pl1,signal=%b,site=wuxi,unit=%b "


def test_all_good_floats() -> None:
    lines = LineEncoder("reading").encode(batch((80.4, 1e22), time_ns=T0))
    assert lines == (
        HEAD % (b"temperature", b"Cel") + b"value=80.4,quality=192i 1763800000123456789\n"
        + HEAD % (b"pressure", b"bar") + b"value=1.0e+22,quality=192i 1763800000123456789\n"
    )  # fmt: skip


def test_each_kind_has_its_own_field() -> None:
    lines = LineEncoder("reading").lines(batch((1.0, 2.0, 1, True, "1")))
    assert [line.split(b" ")[1].split(b",")[0] for line in lines] == [
        b"value=1.0", b"value=2.0", b"value_int=1i", b"value_bool=true", b'value_text="1"',
    ]  # fmt: skip


def test_mixed_kinds_without_text_take_the_fast_way_to_the_same_lines() -> None:
    mixed = batch((1.0, 2.0, -5, False))
    encoder = LineEncoder("reading")
    assert encoder.encode(mixed) == b"".join(encoder.lines(mixed))
    assert b"value_int=-5i,quality=192i" in encoder.encode(mixed)


def test_no_value_leaves_the_quality() -> None:
    (line,) = LineEncoder("reading").lines(batch((None,), status=(Status.BAD_SENSOR_FAILURE,), time_ns=T0))
    assert line == HEAD % (b"temperature", b"Cel") + b"quality=0i,status=2156658688i 1763800000123456789\n"


def test_uncertain_keeps_its_value() -> None:
    status = Status.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED
    (line,) = LineEncoder("reading").lines(batch((300.5,), status=(status,), time_ns=T0))
    assert b" value=300.5,quality=64i,status=1083441152i " in line


def test_the_run_is_a_field() -> None:
    good = batch((1.5,), run="pl1-20261122-003", phase='he"at', time_ns=T0)
    assert LineEncoder("reading").encode(good).split(b" ", 1)[1] == (
        b'value=1.5,quality=192i,run="pl1-20261122-003",phase="he\\"at" 1763800000123456789\n'
    )


def test_times_of_their_own() -> None:
    lines = LineEncoder("reading").encode(batch((1.5, 2.5), times_ns=(T0, T0 + 1)))
    assert [line.split(b" ")[-1] for line in lines.splitlines()] == [b"1763800000123456789", b"1763800000123456790"]


def test_nothing_that_differs_between_attempts_is_written() -> None:
    first = batch((1.5,), seq=1, time_ns=T0)
    again = batch((1.5,), seq=99, time_ns=T0)
    assert LineEncoder("reading").encode(first) == LineEncoder("reading").encode(again)


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_an_integer_beyond_int64_is_left_out_and_called_bad(value: int) -> None:
    count = Column("count", Kind.INT, "1")
    (line,) = LineEncoder("reading").lines(batch((value,), columns=(count,)))
    assert b"value_int" not in line
    assert b"quality=0i,status=2151415808i" in line
    assert LineEncoder("reading").encode(batch((value,), columns=(count,))) == line


def test_extra_tags_stand_on_every_line() -> None:
    encoder = LineEncoder("reading", ("equipment", "area"))
    with_area = encoder.encode(batch((1.5,), extra={"area": "hall 1, north"}))
    without = encoder.encode(batch((1.5,)))
    assert with_area.startswith(b"reading,area=hall\\ 1\\,\\ north,device=meter,equipment=-,line=pl1,")
    assert without.startswith(b"reading,area=-,device=meter,equipment=-,line=pl1,")


def test_a_line_feed_in_a_text_cannot_begin_another_line() -> None:
    evil = 'x"\nreading,site=wuxi value=0 1'
    lines = LineEncoder("reading").encode(batch((evil,), columns=COLUMNS[4:]))
    assert lines.count(b"\n") == 1
    assert lines.endswith(b"\n")


def test_escapes() -> None:
    assert quote("tab\tnul\0") == b'"tab\tnul\\\\x00"'
    assert escape_tag("10*3/uL") == b"10*3/uL"
    assert escape_tag("a\\") == b"a_"
    assert escape_measurement("my reading,x") == b"my\\ reading\\,x"
