"""The decoder of the two frequent answers against asyncua's own: equal on what is right, equal on what is not."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from drivers.opcua import wire
from drivers.opcua.library import Buffer, struct_to_binary, ua
from drivers.opcua.wire import Columns, Published, columns_of, published, published_of, read_results, response
from gateway.core.errors import ProtocolError

LAST = wire._ticks(ua.win_epoch_to_datetime(2**63 - 1))
NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
T = ua.VariantType

INTEGERS = {T.SByte: 7, T.Int16: 15, T.Int32: 31, T.Int64: 63}
SCALARS = st.one_of(
    *(st.tuples(st.just(kind), st.integers(-(2**bits), 2**bits - 1)) for kind, bits in INTEGERS.items()),
    st.tuples(st.just(T.Byte), st.integers(0, 255)),
    st.tuples(st.just(T.UInt16), st.integers(0, 2**16 - 1)),
    st.tuples(st.just(T.UInt32), st.integers(0, 2**32 - 1)),
    st.tuples(st.just(T.UInt64), st.integers(0, 2**64 - 1)),
    st.tuples(st.just(T.Float), st.floats(width=32)),
    st.tuples(st.just(T.Double), st.floats()),
    st.tuples(st.just(T.Boolean), st.booleans()),
    st.tuples(st.just(T.String), st.none() | st.text(st.characters(codec="utf-8"), max_size=8)),
    st.tuples(st.just(T.DateTime), st.datetimes(datetime(1700, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))),  # noqa: DTZ001 – hypothesis wants it so
    st.tuples(st.just(T.Guid), st.uuids()),
    st.tuples(st.just(T.ByteString), st.none() | st.binary(max_size=8)),
    st.tuples(st.just(T.Null), st.none()),
    st.tuples(st.just(T.LocalizedText), st.builds(ua.LocalizedText, st.text("ab", max_size=3), st.none())),
    st.tuples(st.just(T.NodeId), st.builds(ua.NodeId, st.integers(0, 2**32 - 1), st.integers(0, 9))),
    st.tuples(st.just(T.ExtensionObject), st.just(ua.Argument(Name="x"))),
    st.tuples(st.just(T.Double), st.lists(st.floats(), max_size=3)),
    st.tuples(st.just(T.String), st.lists(st.text("ab"), max_size=3)),
)
TIMES = st.none() | st.just(NOW) | st.datetimes(timezones=st.just(UTC), min_value=datetime(1602, 1, 1))  # noqa: DTZ001
CODES = st.sampled_from((0, 0, 0x480, 0x4093_0000, 0x8034_0000))


@st.composite
def data_values(draw: st.DrawFn) -> Any:
    kind, value = draw(SCALARS)
    item = ua.DataValue(
        ua.Variant(value, kind),
        StatusCode=draw(st.none() | CODES.map(ua.StatusCode)),
        SourceTimestamp=draw(TIMES),
        ServerTimestamp=draw(TIMES),
    )
    if item.ServerTimestamp is None:  # elsewhere asyncua has them in the wrong order
        item.SourcePicoseconds = draw(st.none() | st.integers(0, 9999))
    item.ServerPicoseconds = draw(st.none() | st.integers(0, 9999))
    return item


RUNS = st.lists(st.tuples(data_values(), st.integers(1, 12)), max_size=3).map(
    lambda runs: [item for item, count in runs for _ in range(count)]
)


def publish_response(*notifications: Any) -> bytes:
    answer = ua.PublishResponse()
    answer.Parameters.SubscriptionId = 7
    answer.Parameters.AvailableSequenceNumbers = [3, 4]
    answer.Parameters.NotificationMessage.SequenceNumber = 4
    answer.Parameters.NotificationMessage.NotificationData = list(notifications)
    answer.Parameters.Results = [ua.StatusCode(0)]
    return bytes(struct_to_binary(answer))


def data_change(items: list[Any]) -> Any:
    return ua.DataChangeNotification(
        MonitoredItems=[ua.MonitoredItemNotification(ClientHandle=n, Value=item) for n, item in enumerate(items)]
    )


def read_response(items: list[Any]) -> bytes:
    answer = ua.ReadResponse()
    answer.Results = items
    return bytes(struct_to_binary(answer))


def theirs_published(raw: bytes) -> Any:
    answer: Any = response(ua.PublishResponse, Buffer(raw))
    answer.ResponseHeader.ServiceResult.check()
    return published_of(answer)


def theirs_read(raw: bytes) -> Any:
    answer: Any = response(ua.ReadResponse, Buffer(raw))
    answer.ResponseHeader.ServiceResult.check()
    return columns_of(answer.Results or ())


def text_of(decoded: Columns | Published) -> str:
    """Comparable also where it holds NaN; times as asyncua has them, in microseconds of the years 1601 to 9999."""
    for columns in [decoded] if isinstance(decoded, Columns) else decoded.data:
        for times in (columns.source, columns.server):
            times[:] = [max(0, min(ticks, LAST)) // 10 * 10 for ticks in times]
    return repr(decoded)


def outcome(decode: Any, raw: bytes) -> str:
    """What comes of it."""
    try:
        return text_of(decode(raw))
    except ProtocolError:
        return "ProtocolError"
    except ua.UaStatusCodeError as e:
        return f"refused {e.code:#x}"


@given(RUNS)
def test_read_answers_are_decoded_as_asyncua_does(items: list[Any]) -> None:
    raw = read_response(items)
    assert text_of(wire._read_results(raw)) == text_of(theirs_read(raw)), "and without its help"


@given(st.lists(RUNS, max_size=3))
def test_notifications_are_decoded_as_asyncua_does(notifications: list[list[Any]]) -> None:
    raw = publish_response(*map(data_change, notifications))
    assert text_of(wire._published(raw)) == text_of(theirs_published(raw)), "and without its help"


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(("set", "cut", "insert", "remove", "count")), st.floats(0, 1), st.binary(min_size=1, max_size=4)
    ),
    min_size=1,
    max_size=3,
)


def changed(raw: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for how, where, what in changes:
        at = int(where * len(raw))
        if how == "set":
            raw = raw[:at] + what[:1] + raw[at + 1 :]
        elif how == "cut":
            raw = raw[:at]
        elif how == "insert":
            raw = raw[:at] + what + raw[at:]
        elif how == "remove":
            raw = raw[:at] + raw[at + len(what) :]
        else:
            raw = raw[:at] + b"\xff\xff\xff\x7f" + raw[at + 4 :]
    return raw


def _order_of_asyncua(mask: int) -> str:
    """asyncua has the picoseconds behind both times, the standard (Part 6, 5.2.2.17) each behind its own."""
    parts = ((2, "I"), (4, "q"), (8, "q"), (16, "2x"), (32, "2x"))
    return "".join(form for bit, form in parts if mask & bit)


with patch.object(wire, "_tail", _order_of_asyncua):
    ORDER_OF_ASYNCUA: dict[str, Any] = {
        "_ITEMS": wire._layouts(True),
        "_VALUES": wire._layouts(False),
        "_TAILS": tuple(wire._Layout(mask & ~1, 0, False) for mask in range(64)),
    }


@settings(max_examples=150, phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink))
@given(RUNS, CHANGES)
def test_damaged_answers_end_as_with_asyncua(items: list[Any], changes: list[tuple[str, float, bytes]]) -> None:
    for whole, ours, theirs in (
        (read_response(items), read_results, theirs_read),
        (publish_response(data_change(items)), published, theirs_published),
    ):
        raw = changed(whole, changes)
        with patch.multiple(wire, **ORDER_OF_ASYNCUA):
            assert outcome(ours, raw) == outcome(theirs, raw)


HEADER = bytes.fromhex("01007a02") + bytes(16) + bytes(8)  # ReadResponse, good, nothing else


@pytest.mark.parametrize("value", [bytes.fromhex("0607000000"), bytes.fromhex("860100000007000000")])
def test_picoseconds_lie_where_the_standard_has_them(value: bytes) -> None:
    record = b"\x3d" + value + struct.pack("<qHqH", 10, 1, 20, 2)
    columns = read_results(HEADER + struct.pack("<i", 6) + record * 6 + b"\xff" * 4)
    assert (columns.source, columns.server) == ([10] * 6, [20] * 6)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_answer_are_a_protocol_error(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        published(raw)


def test_an_array_of_two_thousand_million_nothings_is_refused_at_once() -> None:
    with pytest.raises(ProtocolError, match="array of nothing"):
        read_results(HEADER + struct.pack("<i", 1) + b"\x01\x80\xff\xff\xff\x7f" + b"\xff" * 4)


def test_a_pit_of_variants_is_refused() -> None:
    with pytest.raises(ProtocolError):
        read_results(HEADER + struct.pack("<i", 1) + b"\x01" + b"\x18" * 100_000)


@pytest.mark.parametrize("result", [0x8010_0000, 0x8025_0000])
def test_a_refusal_of_the_whole_call_is_told(result: int) -> None:
    answer = ua.PublishResponse()
    answer.ResponseHeader.ServiceResult = ua.StatusCode(result)
    with pytest.raises(ua.UaStatusCodeError) as caught:
        published(bytes(struct_to_binary(answer)))
    assert caught.value.code == result


def test_what_the_server_says_of_a_subscription() -> None:
    assert not published(publish_response()).told
    gone = published(publish_response(ua.StatusChangeNotification(Status=ua.StatusCode(0x800A_0000))))
    assert (gone.subscription, gone.sequence, gone.changed, gone.told) == (7, 4, 0x800A_0000, True)
    other = published(publish_response(ua.EventNotificationList()))
    assert (other.data, other.told) == ([], True)


def test_the_common_message_needs_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed: asyncua must not be asked for plain values, in whatever order their types come."""
    kinds = ((1.5, T.Double), (2.5, T.Float), (3, T.Int16), (True, T.Boolean), ("text", T.String), (NOW, T.DateTime))
    items = [
        ua.DataValue(ua.Variant(value, kind), SourceTimestamp=NOW, ServerTimestamp=NOW) for value, kind in kinds * 3
    ]
    raw = publish_response(data_change(items))
    monkeypatch.setattr(wire, "variant_from_binary", None)
    monkeypatch.setattr(wire, "struct_from_binary", None)
    (columns,) = published(raw).data
    assert columns.values == [value for value, _ in kinds * 3]
    assert columns.handles == list(range(18))


def test_an_answer_of_another_kind_is_a_protocol_error() -> None:
    """Also where its bytes would make sense as what was asked for."""
    fault = struct_to_binary(ua.ServiceFault()) + read_response([])[28:]
    with pytest.raises(ProtocolError, match="of another kind than ReadResponse"):
        read_results(fault)


def test_no_results_at_all_are_none() -> None:
    """A null array, in an answer that is left to asyncua because of its diagnostics."""
    answer = ua.ReadResponse()
    answer.ResponseHeader.ServiceDiagnostics = ua.DiagnosticInfo(SymbolicId=1)
    raw = bytes(struct_to_binary(answer))
    nothing = raw[:-8] + b"\xff" * 8
    assert len(read_results(nothing)) == 0
