"""Topics and payloads of the profile ``pilot``, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import orjson
import pytest

from gateway.core.contracts import Newest
from gateway.core.model import Column, Device, Kind, Tag
from gateway.core.quality import Status
from gateway.sinks import mqtt_payload
from gateway.sinks.mqtt_payload import DataEncoder, Topics
from tests.support.batches import COLUMNS, T0, batch, device, source


def test_topics() -> None:
    topics = Topics("pilot/v1")
    assert topics.data(source()) == "pilot/v1/wuxi/pl1/meter/data"
    assert topics.live(device()) == "pilot/v1/wuxi/pl1/meter/live"
    assert topics.meta(device()) == "pilot/v1/wuxi/pl1/meter/meta"
    assert topics.state(device()) == "pilot/v1/wuxi/pl1/meter/state"
    assert topics.run("wuxi", "pl1") == "pilot/v1/wuxi/pl1/run"
    assert topics.gateway("gw1") == "pilot/v1/gateways/gw1/state"


def test_the_example_of_the_schema() -> None:
    columns = [Column(name, Kind.FLOAT, "1") for name in ("temperature", "pressure", "flow", "ph")]
    one = batch(
        (80.4, 1.02, None, 7.5),
        columns=columns,
        seq=48211,
        time_ns=1763800000123_000_000,
        status=(0, 0, Status.BAD_COMMUNICATION_ERROR, 0),
        times_ns=(*(1763800000123_000_000,) * 3, 1763799999000_000_000),
        run="pl1-20261122-003",
        phase="heat",
    )
    assert DataEncoder("gw1").encode(one, history=True) == (
        b'{"schema":"pilot.batch/1","gateway":"gw1","boot":"9f3a11c2","seq":48211,"time":1763800000123,'
        b'"received":1763800000131,"run":"pl1-20261122-003","phase":"heat",'
        b'"values":{"temperature":80.4,"pressure":1.02,"ph":7.5},'
        b'"bad":{"flow":{"status":2147811328,"quality":"bad"}},"times":{"ph":1763799999000},"history":true}'
    )


def test_all_good() -> None:
    payload = DataEncoder("gw1").encode(batch((80.4, 1.02), time_ns=T0), history=False)
    assert payload == (
        b'{"schema":"pilot.batch/1","gateway":"gw1","boot":"9f3a11c2","seq":1,"time":1763800000123,'
        b'"received":1763800000131,"values":{"temperature":80.4,"pressure":1.02}}'
    )


def test_uncertain_is_in_values_and_in_bad() -> None:
    status = Status.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED
    message = orjson.loads(DataEncoder("gw1").encode(batch((300.5,), status=(status,)), history=False))
    assert message["values"] == {"temperature": 300.5}
    assert message["bad"] == {"temperature": {"status": status, "quality": "uncertain"}}


@pytest.mark.parametrize(
    ("value", "text"),
    [(2**53, "9007199254740992"), (2**53 + 1, '"9007199254740993"'), (-(2**60), '"-1152921504606846976"'), (7, "7")],
)
def test_integers_that_javascript_cannot_hold_are_text(value: int, text: str) -> None:
    for values, columns in (((value,), COLUMNS[2:3]), ((value, True, "a"), COLUMNS[2:])):  # both ways through
        payload = DataEncoder("gw1").encode(batch(values, columns=columns), history=False)
        assert f'"values":{{"counter":{text}'.encode() in payload


@pytest.mark.parametrize(
    ("value", "text"), [(2**53, "9007199254740992"), (2**53 + 1, '"9007199254740993"'), (-(2**63), f'"{-(2**63)}"')]
)
def test_live_integers_that_javascript_cannot_hold_are_text(value: int, text: str) -> None:
    counter = Device("wuxi", "pl1", "meter", (Tag("counter", Kind.INT, 0), Tag("on", Kind.BOOL, 1)))
    message = mqtt_payload.live(counter, Newest((value, True), (0, 0x40940000), (T0, T0)), "")
    assert f'"counter":{text},"on":true,"_bad":{{"on":"uncertain"}}'.encode() in message


def test_live_is_flat() -> None:
    tags = tuple(Tag(name, Kind.FLOAT, 0) for name in ("temperature", "flow", "level"))
    reactor = Device("wuxi", "pl1", "reactor", tags)
    newest = Newest((80.4, None, 2.0), (0, Status.BAD_SENSOR_FAILURE, 0x40940000), (T0, T0 - 10**9, T0))
    assert mqtt_payload.live(reactor, newest, "pl1-1") == (
        b'{"_time":1763800000123,"temperature":80.4,"flow":null,"level":2.0,'
        b'"_bad":{"flow":"bad","level":"uncertain"},"_run":"pl1-1"}'
    )
    assert mqtt_payload.live(reactor, Newest((1.0,) * 3, (0,) * 3, (T0,) * 3), "") == (
        b'{"_time":1763800000123,"temperature":1.0,"flow":1.0,"level":1.0}'
    )


class Order(StrEnum):
    BIG = "big"


@dataclass(frozen=True)
class Address:
    register: int
    order: Order
    bit: int | None = None
    invalid: tuple[int, ...] = ()


def test_meta_tells_what_the_tags_mean() -> None:
    tag = Tag(
        "temperature", Kind.FLOAT, Address(52, Order.BIG), "Cel", low=0.0, high=250.0, deadband=0.1,
        period_ns=500_000_000, names={"en": "Jacket", "zh": "夹套", "de": ""}, description="PT100",
    )  # fmt: skip
    message = orjson.loads(mqtt_payload.meta("gw1", Device("wuxi", "pl1", "jacket", (tag,), template="eurotherm-3216")))
    assert message == {
        "schema": "pilot.meta/1", "gateway": "gw1", "site": "wuxi", "line": "pl1", "device": "jacket",
        "template": "eurotherm-3216", "enabled": True,
        "tags": {"temperature": {
            "kind": "float", "unit": "Cel", "period_s": 0.5, "range": [0.0, 250.0], "deadband": 0.1,
            "names": {"en": "Jacket", "zh": "夹套"}, "description": "PT100", "address": "register=52 order=big",
        }},
    }  # fmt: skip


def test_meta_tells_what_numbers_mean_and_where_counters_roll_over() -> None:
    tags = (
        Tag("mode", Kind.TEXT, "1", enum={0: "idle", 10: "running"}),
        Tag("alarms", Kind.TEXT, "2", bits={0: "hot", 4: "door open"}),
        Tag("total", Kind.INT, "3", "L", low=0.0, high=1e6, wrap=1e6),
    )
    told = orjson.loads(mqtt_payload.meta("gw1", Device("wuxi", "pl1", "feed", tags)))["tags"]
    assert told["mode"]["enum"] == {"0": "idle", "10": "running"}
    assert told["alarms"]["bits"] == {"0": "hot", "4": "door open"}
    assert told["total"]["wrap"] == 1e6
    assert [set(tag) & {"enum", "bits", "wrap"} for tag in told.values()] == [{"enum"}, {"bits"}, {"wrap"}]


def test_states() -> None:
    assert mqtt_payload.state("online", T0, "") == b'{"state":"online","since":1763800000123}'
    assert orjson.loads(mqtt_payload.state("connecting", 0, "x"))["state"] == "offline"
    will = orjson.loads(mqtt_payload.gateway_state("gw1", "9f3a11c2", online=False, version="1"))
    assert will["state"] == "offline"
    assert "since" not in will
