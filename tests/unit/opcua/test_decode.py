from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.opcua.decode import Part, Slot, bad_scan, notification_scans, pick, scan_of
from drivers.opcua.library import ua
from drivers.opcua.wire import columns_of
from gateway.core.errors import ProtocolError
from gateway.core.model import Device, Kind, Scan, Tag, TimeSource, Value
from gateway.core.quality import GOOD, Status

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
NOW_NS = int(NOW.timestamp()) * 10**9
TAGS = tuple(Tag(kind.value, kind, None) for kind in Kind)
DEVICE = Device("site", "line", "plc", TAGS)
OTHER = Device("site", "line", "other", TAGS)
FLOAT, INT, BOOL, TEXT = range(4)


def data(value: Any, kind: Any = None, *, status: int = GOOD, **times: datetime | None) -> Any:
    return ua.DataValue(
        ua.Variant(value, kind) if kind else ua.Variant(value), StatusCode=ua.StatusCode(status), **times
    )


def one(i: int, item: Any) -> tuple[Value, int]:
    scan = scan_of(DEVICE, (i,), columns_of([item]), NOW_NS)
    return scan.values[0], scan.status[0] if scan.status else GOOD


T = ua.VariantType


@pytest.mark.parametrize(
    ("i", "kind", "value", "wanted"),
    [
        (FLOAT, T.Float, 80.4000015258789, 80.4),
        (FLOAT, T.Double, 0.1, 0.1),
        (FLOAT, T.UInt16, 60000, 60000.0),
        (FLOAT, T.Int64, 2**53, float(2**53)),
        (INT, T.Int64, -(2**63), -(2**63)),
        (INT, T.UInt64, 2**63 - 1, 2**63 - 1),
        (INT, T.Byte, 7, 7),
        (BOOL, T.Boolean, False, False),
        (TEXT, T.String, "加热", "加热"),
        (TEXT, T.String, None, ""),
        (TEXT, T.LocalizedText, ua.LocalizedText("heat", "en"), "heat"),
        (TEXT, T.DateTime, NOW, "2026-03-04T05:06:07.000Z"),
        (TEXT, T.Guid, UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_what_a_tag_takes(i: int, kind: Any, value: Any, wanted: Value) -> None:
    got, status = one(i, data(value, kind))
    assert (got, status) == (wanted, GOOD)
    assert type(got) is type(wanted)


@pytest.mark.parametrize(
    ("i", "kind", "value"),
    [
        (FLOAT, T.Boolean, True),
        (FLOAT, T.String, "1.5"),
        (FLOAT, T.Int64, 2**53 + 1),
        (FLOAT, T.DateTime, NOW),
        (INT, T.Double, 1.0),
        (INT, T.Boolean, True),
        (INT, T.UInt64, 2**63),
        (BOOL, T.Byte, 1),
        (TEXT, T.Int32, 5),
        (TEXT, T.ByteString, b"x"),
        (FLOAT, T.Null, None),
        (TEXT, T.Null, None),
        (FLOAT, T.Double, [1.0]),
    ],
)
def test_f22_anything_else_is_a_type_mismatch(i: int, kind: Any, value: Any) -> None:
    assert one(i, data(value, kind)) == (None, Status.BAD_TYPE_MISMATCH)


def picked(value: Any, element: int, kind: Any = T.Double, **more: Any) -> tuple[Value, int]:
    columns = columns_of([data(1.5, T.Double), ua.DataValue(ua.Variant(value, kind, **more))])
    pick(columns, {1: Part(element)})
    scan = scan_of(DEVICE, (FLOAT, FLOAT), columns, NOW_NS)
    assert scan.values[0] == 1.5
    return scan.values[1], scan.status[1] if scan.status else GOOD


def test_an_element_of_an_array() -> None:
    assert picked([1.0, 2.0, 3.0], 2) == (3.0, GOOD)
    assert picked([80.4000015258789], 0, T.Float) == (80.4, GOOD)


def test_f22_an_array_that_became_shorter_or_no_array_at_all() -> None:
    assert picked([1.0, 2.0], 2) == (None, ua.StatusCodes.BadIndexRangeNoData)
    mismatch = (None, Status.BAD_TYPE_MISMATCH)
    assert picked(7.0, 0) == mismatch
    assert picked("text", 0, T.String) == mismatch
    assert picked(["1.5"], 0, T.String) == mismatch
    assert picked([[1.0, 2.0], [3.0, 4.0]], 0, Dimensions=[2, 2], is_array=True) == mismatch


@pytest.mark.parametrize("kind", [T.Float, T.Double])
@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_f11_no_number_is_a_broken_sensor(kind: Any, value: float) -> None:
    assert one(FLOAT, data(value, kind)) == (None, Status.BAD_SENSOR_FAILURE)


def test_the_status_of_the_server_is_kept_bit_for_bit() -> None:
    assert one(FLOAT, data(7.0, status=0x4093_0480)) == (7.0, 0x4093_0480)
    assert one(FLOAT, data(7.0, status=0x808B_0001)) == (None, 0x808B_0001)
    assert one(FLOAT, data(7.0, status=0x0096_0000)) == (7.0, 0x0096_0000)
    assert one(FLOAT, data(7.0, status=0xC000_0000)) == (None, 0xC000_0000)


def test_one_odd_value_leaves_its_neighbours_alone() -> None:
    items = [data(1.5, T.Float), data("x"), data(True), data(None, T.Null)]
    scan = scan_of(DEVICE, (FLOAT, INT, BOOL, TEXT), columns_of(items), NOW_NS)
    mismatch = Status.BAD_TYPE_MISMATCH
    assert scan.values == (1.5, None, True, None)
    assert scan.status == (GOOD, mismatch, GOOD, mismatch)


# -------------------------------------------------------------------------------------------------------- times


def timed(*items: Any) -> Scan:
    return scan_of(Device("s", "l", "d", TAGS[:1] * len(items)), tuple(range(len(items))), columns_of(items), NOW_NS)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("source", "server", "wanted_ns", "who"),
    [
        (NOW - SECOND, NOW, NOW_NS - 10**9, TimeSource.DEVICE),
        (datetime(2000, 1, 1, tzinfo=UTC), NOW - SECOND, NOW_NS - 10**9, TimeSource.SERVER),
        (None, NOW - SECOND, NOW_NS - 10**9, TimeSource.SERVER),
        (NOW - timedelta(days=31), NOW + timedelta(hours=1), NOW_NS, TimeSource.GATEWAY),
        (None, None, NOW_NS, TimeSource.GATEWAY),
        (NOW + timedelta(minutes=5), None, NOW_NS + 300 * 10**9, TimeSource.DEVICE),
        (NOW + timedelta(minutes=5, microseconds=1), None, NOW_NS, TimeSource.GATEWAY),
        (NOW - timedelta(days=30), None, NOW_NS - 30 * 86_400 * 10**9, TimeSource.DEVICE),
    ],
)
def test_the_most_trustworthy_sane_time(
    source: datetime | None, server: datetime | None, wanted_ns: int, who: TimeSource
) -> None:
    scan = timed(data(1.0, SourceTimestamp=source, ServerTimestamp=server))
    assert (scan.time_ns, scan.times_ns, scan.time_source) == (wanted_ns, None, who)


def test_times_that_differ_are_kept_and_the_newest_is_the_scans() -> None:
    scan = timed(data(1.0, SourceTimestamp=NOW - SECOND), data(2.0, SourceTimestamp=NOW))
    assert (scan.time_ns, scan.times_ns) == (NOW_NS, (NOW_NS - 10**9, NOW_NS))
    assert timed(*[data(1.0, SourceTimestamp=NOW)] * 3).times_ns is None


def test_a_bad_value_without_a_time_does_not_spoil_who_said_the_others() -> None:
    scan = timed(data(1.0, SourceTimestamp=NOW - SECOND), data(None, status=0x8034_0000))
    assert scan.time_source is TimeSource.DEVICE
    assert scan.times_ns == (NOW_NS - 10**9, NOW_NS)


def test_microseconds_survive() -> None:
    assert timed(data(1.0, SourceTimestamp=NOW + timedelta(microseconds=123_456))).time_ns == NOW_NS + 123_456_000


# ------------------------------------------------------------------------------------------------ notifications


SLOTS = [Slot(0, FLOAT), Slot(0, INT), Slot(1, FLOAT)]


def notify(*items: tuple[int, Any]) -> tuple[list[Scan], int]:
    made = columns_of(item for _, item in items)
    made.handles = [handle for handle, _ in items]
    return notification_scans((DEVICE, OTHER), SLOTS, made, NOW_NS)


def test_one_scan_per_device() -> None:
    scans, overflows = notify((0, data(1.0)), (2, data(2.0)), (1, data(3, T.Int32)))
    assert [(scan.device.id, scan.index, scan.values) for scan in scans] == [
        ("plc", (FLOAT, INT), (1.0, 3)),
        ("other", (FLOAT,), (2.0,)),
    ]
    assert overflows == 0


def test_a_tag_twice_makes_two_scans_in_order() -> None:
    scans, _ = notify((0, data(1.0)), (0, data(2.0)), (0, data(3.0)), (1, data(7, T.Int32)), (1, data(8, T.Int32)))
    assert [(scan.index, scan.values) for scan in scans] == [
        ((FLOAT, INT), (1.0, 7)),
        ((FLOAT, INT), (2.0, 8)),
        ((FLOAT,), (3.0,)),
    ]


@given(st.lists(st.tuples(st.sampled_from((0, 2)), st.floats(-1e9, 1e9))))
def test_f20_none_is_dropped_and_each_tag_stays_in_order(items: list[tuple[int, float]]) -> None:
    scans, _ = notify(*((handle, data(value, T.Double)) for handle, value in items))
    for handle, device in ((0, DEVICE), (2, OTHER)):
        got = [value for scan in scans if scan.device is device for value in scan.values]
        assert got == [value for each, value in items if each == handle]


def test_overflows_are_counted() -> None:
    assert notify((0, data(1.0, status=0x480)), (1, data(1, T.Int32, status=0x400)))[1] == 1


def test_an_item_nobody_asked_for_is_nonsense() -> None:
    with pytest.raises(ProtocolError, match="item 3"):
        notify((3, data(1.0)))


def test_why_tags_will_bring_nothing() -> None:
    scan = bad_scan(DEVICE, {2: 0x8034_0000, 0: 0x8074_0000}, NOW_NS)
    assert (scan.index, scan.values, scan.status) == ((0, 2), (None, None), (0x8074_0000, 0x8034_0000))
