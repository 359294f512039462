from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Kind, Scan, Tag, TimeSource, Value
from gateway.core.quality import Status
from gateway.core.text import parse, render
from gateway.normalise import Normaliser
from tests.support.devices import NOW_NS, device, scan, tag

OUTSIDE = Status.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED


def normalise(of: object, *values: Value, **more: object) -> tuple[tuple[Value, ...], tuple[int, ...] | None]:
    batch = Normaliser(of, "b")(scan(of, *values, **more))  # type: ignore[arg-type]
    assert batch
    return batch.values, batch.status


@pytest.mark.parametrize(
    ("tag_of_b", "text"),
    [
        (tag("b"), b"[80.4,20.5]"),
        (tag("b", scale=10), b"[80.4,205.0]"),
        (tag("b", low=0, high=10), b"[80.4,20.5]"),
        (tag("b", deadband=1), b"[80.4,20.5]"),
    ],
)
def test_what_the_driver_has_rendered_is_used_where_nothing_changes_it(tag_of_b: Tag, text: bytes) -> None:
    of = device(tag("a"), tag_of_b)
    normaliser = Normaliser(of, "0123abcd")
    first = normaliser(scan(of, 80.4, 20.5, text=b"[80.4,20.5]"))
    assert first
    assert first.text == render(first.values) == text
    again = normaliser(scan(of, 81.4, 20.6, text=b"[81.4,20.6]", time_ns=NOW_NS + 1))
    assert again
    assert again.text == render(again.values)


def test_a_plain_float_passes_as_it_is() -> None:
    assert normalise(device(tag("a"), tag("b")), 80.4, -1.5) == ((80.4, -1.5), None)


@pytest.mark.parametrize(
    ("raw", "scale", "offset", "expected"),
    [
        (242, 0.1, 0, 24.2),  # 242 × 0.1 would be 24.200000000000003
        (3001, 0.1, -273.15, 26.95),  # and this 26.950000000000045
        (16, 0.625, 4, 14.0),
        (65535, 0.001, 0, 65.535),
        (3, 10, 0, 30.0),
        (1234.5, 0.001, 0, 1.2345),
    ],
)
def test_scaling_gives_the_decimal_number_that_is_meant(
    raw: float, scale: float, offset: float, expected: float
) -> None:
    [value], _ = normalise(device(tag(scale=scale, offset=offset)), raw)
    assert value == expected
    assert type(value) is float


@given(raw=st.integers(-(2**31), 2**31), digits=st.integers(0, 6), offset_cents=st.integers(-100_000, 100_000))
def test_integers_with_decimal_scales_are_exact(raw: int, digits: int, offset_cents: int) -> None:
    exact = Fraction(raw, 10**digits) + Fraction(offset_cents, 100)
    [value], _ = normalise(device(tag(scale=float(f"1e-{digits}"), offset=offset_cents / 100)), raw)
    assert value == float(exact)


def test_a_value_outside_its_range_is_kept_and_uncertain() -> None:
    both = device(tag("a", low=0, high=100), tag("b", low=0, high=100))
    assert normalise(both, 100.0, 100.1) == ((100.0, 100.1), (0, OUTSIDE))
    assert normalise(both, -0.1, 0.0) == ((-0.1, 0.0), (OUTSIDE, 0))


def test_the_range_is_in_engineering_units() -> None:
    assert normalise(device(tag(scale=0.1, low=0, high=100)), 1000) == ((100.0,), None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_null_and_a_sensor_failure(value: float) -> None:
    assert normalise(device(tag("a"), tag("b")), value, 1.0) == ((None, 1.0), (Status.BAD_SENSOR_FAILURE, 0))


def test_a_bad_status_takes_the_value_away() -> None:
    values, status = normalise(device(), 80.4, status=(Status.BAD_DEVICE_FAILURE,))
    assert (values, status) == ((None,), (Status.BAD_DEVICE_FAILURE,))


def test_an_uncertain_status_of_the_device_stays() -> None:
    assert normalise(device(), 80.4, status=(0x4091_0000,)) == ((80.4,), (0x4091_0000,))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.FLOAT, True),
        (Kind.FLOAT, "80.4"),
        (Kind.INT, 80.0),
        (Kind.INT, True),
        (Kind.BOOL, 1),
        (Kind.TEXT, 1),
    ],
)
def test_nothing_is_cast_silently(kind: Kind, value: Value) -> None:
    assert normalise(device(tag(kind=kind)), value) == ((None,), (Status.BAD_TYPE_MISMATCH,))


def test_an_integer_that_no_sink_can_hold_is_null() -> None:
    assert normalise(device(tag(kind=Kind.INT)), 2**63) == ((None,), (Status.BAD_SENSOR_FAILURE,))
    assert normalise(device(tag(kind=Kind.INT)), 2**63 - 1) == ((2**63 - 1,), None)


def test_text_is_rendered_once_and_floats_show_it() -> None:
    mixed = device(tag("a"), tag("b", Kind.INT), tag("c", Kind.BOOL), tag("d", Kind.TEXT))
    batch = Normaliser(mixed, "b")(scan(mixed, 1.0, 1, True, 'he said "1,2"'))
    assert batch
    assert batch.text == b'[1.0,1,true,"he said \\"1,2\\""]'


def test_sequence_numbers_rise_by_one_for_each_batch_that_is_reported() -> None:
    one = device(tag(deadband=1.0))
    normaliser = Normaliser(one, "b")
    batches = [normaliser(scan(one, value, time_ns=NOW_NS + i)) for i, value in enumerate((10.0, 10.5, 11.0, 11.9))]
    assert [batch.seq if batch else None for batch in batches] == [1, None, 2, None]
    assert normaliser.filtered == 2


def test_a_deadband_compares_with_what_was_reported_last_not_with_the_scan_before() -> None:
    one = device(tag(deadband=1.0))
    normaliser = Normaliser(one, "b")
    reported = [bool(normaliser(scan(one, 10.0 + i / 4, time_ns=NOW_NS + i))) for i in range(9)]
    assert reported == [True, False, False, False, True, False, False, False, True]


def test_a_change_of_quality_passes_the_deadband() -> None:
    one = device(tag(deadband=1.0, low=0, high=10))
    normaliser = Normaliser(one, "b")
    assert normaliser(scan(one, 9.9))
    crossed = normaliser(scan(one, 10.1, time_ns=NOW_NS + 1))
    assert crossed
    assert crossed.status == (OUTSIDE,)
    assert normaliser(scan(one, None, status=(Status.BAD_COMMUNICATION_ERROR,), time_ns=NOW_NS + 2))
    assert not normaliser(scan(one, None, status=(Status.BAD_COMMUNICATION_ERROR,), time_ns=NOW_NS + 3))


def test_tags_without_a_deadband_are_reported_beside_a_filtered_one() -> None:
    both = device(tag("a", deadband=5.0), tag("b"))
    normaliser = Normaliser(both, "b")
    normaliser(scan(both, 1.0, 1.0))
    batch = normaliser(scan(both, 1.1, 1.1, time_ns=NOW_NS + 1))
    assert batch
    assert [(r.tag, r.value) for r in batch.readings()] == [("b", 1.1)]


def test_the_same_selection_gives_the_same_shape_object() -> None:
    one = device()
    normaliser = Normaliser(one, "b")
    first, second = normaliser(scan(one, 1.0)), normaliser(scan(one, 2.0, time_ns=NOW_NS + 1))
    assert first
    assert second
    assert first.shape is second.shape


def test_two_values_with_one_time_are_kept_apart_by_a_nanosecond() -> None:
    one = device()
    normaliser = Normaliser(one, "b")
    times = [batch.time_ns - NOW_NS for v in (1.0, 2.0, 3.0) if (batch := normaliser(scan(one, v)))]
    assert times == [0, 1, 2]


def test_source_times_that_repeat_are_kept_apart_tag_by_tag() -> None:
    both = device(tag("a"), tag("b"))
    normaliser = Normaliser(both, "b")

    def times(a: int, b: int, *values: float) -> list[int]:
        batch = normaliser(
            Scan(both, (0, 1), values, None, NOW_NS, NOW_NS, times_ns=(a, b), time_source=TimeSource.DEVICE)
        )
        assert batch
        return [reading.time_ns for reading in batch.readings()]

    assert times(100, 100, 1.0, 1.0) == [100, 100]
    assert times(100, 200, 2.0, 2.0) == [101, 200]
    assert times(100, 200, 3.0, 3.0) == [102, 201]
    assert times(300, 200, 4.0, 4.0) == [300, 202]
    assert times(300, 200, 4.0, 4.0) == [300, 202]  # told again, not said anew


def test_the_run_is_on_the_batch() -> None:
    one = device()
    batch = Normaliser(one, "b")(scan(one, 1.0), "pl1-20260101-001", "heat")
    assert batch
    assert (batch.run, batch.phase) == ("pl1-20260101-001", "heat")


@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()), min_size=4, max_size=4))
def test_null_exactly_where_there_is_no_usable_value(values: list[Value]) -> None:
    mixed = device(tag("a"), tag("b", Kind.INT, scale=0.5), tag("c", Kind.BOOL), tag("d", Kind.TEXT, deadband=1))
    batch = Normaliser(mixed, "b")(scan(mixed, *values))
    assert batch
    types = {Kind.FLOAT: float, Kind.INT: int, Kind.BOOL: bool, Kind.TEXT: str}
    for reading, column in zip(batch.readings(), batch.shape.columns, strict=True):
        assert (reading.value is None) == (reading.quality == "bad")
        assert reading.value is None or type(reading.value) is types[column.kind]


def test_a_changed_device_goes_on_in_number_and_time() -> None:
    before = Normaliser(device(tag("a"), tag("b")), "boot")
    wider = device(tag("b"), tag("c"))
    after = Normaliser(wider, "boot")
    first = before(scan(before.device, 1.0, 2.0))
    after.succeed(before)
    second = after(scan(wider, 3.0, 4.0))  # at the same time
    assert first
    assert second
    assert (first.seq, second.seq) == (1, 2)
    assert second.time_ns > first.time_ns


@pytest.mark.parametrize(
    ("said", "kept", "status"),
    [
        ("x" * 5_000_000, "x" * 4096, Status.UNCERTAIN),
        ("温" * 2_000, "温" * 1365, Status.UNCERTAIN),
        ("温" * 1_000, "温" * 1_000, None),
        ("\x00\n\x1b[31m", "\x00\n\x1b[31m", None),
        ("half \ud83d", "half ?", None),
    ],
)
def test_m14_texts_are_cut_to_4_kib_and_can_always_be_stored(said: str, kept: str, status: Status | None) -> None:
    of = device(tag("message", Kind.TEXT))
    batch = Normaliser(of, "boot")(scan(of, said))
    assert batch
    assert batch.values == (kept,)
    assert batch.status == ((status,) if status else None)
    assert parse(batch.text) == batch.values
