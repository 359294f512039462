"""Whatever a batch holds: the data message is JSON and says what the batch says."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Batch
from gateway.core.quality import Quality
from gateway.sinks.mqtt_payload import DataEncoder
from tests.support.any_batch import batches


def expected(batch: Batch, history: bool) -> dict[str, Any]:
    readings = list(batch.readings())
    message: dict[str, Any] = {
        "schema": "pilot.batch/1",
        "gateway": "gw1",
        "boot": batch.boot,
        "seq": batch.seq,
        "time": batch.time_ns // 10**6,
        "received": batch.received_ns // 10**6,
    }
    if batch.run:
        message["run"] = batch.run
        if batch.phase:
            message["phase"] = batch.phase
    message["values"] = {
        reading.tag: str(reading.value) if type(reading.value) is int and abs(reading.value) > 2**53 else reading.value
        for reading in readings
        if reading.value is not None
    }
    bad = {r.tag: {"status": r.status, "quality": r.quality.value} for r in readings if r.status}
    times = {r.tag: r.time_ns // 10**6 for r in readings if r.time_ns // 10**6 != batch.time_ns // 10**6}
    if bad:
        message["bad"] = bad
    if times:
        message["times"] = times
    if history:
        message["history"] = True
    return message


@given(batches(), st.booleans())
def test_the_message_says_what_the_batch_says(batch: Batch, history: bool) -> None:
    payload = DataEncoder("gw1").encode(batch, history)
    wanted = expected(batch, history)
    # json, not orjson: the text is read by another library than the one that wrote it
    found = json.loads(payload, parse_constant=lambda name: f"{name} is not JSON")
    assert found == wanted
    assert list(found) == list(wanted), "the order of the keys is fixed"
    assert [type(found["values"][key]) for key in wanted["values"]] == [type(v) for v in wanted["values"].values()]
    assert not any(entry["quality"] == Quality.GOOD for entry in found.get("bad", {}).values() if entry["status"] >> 30)


@given(batches())
def test_a_re_send_differs_by_the_history_mark_alone(batch: Batch) -> None:
    first, again = DataEncoder("gw1").encode(batch, history=False), DataEncoder("gw1").encode(batch, history=True)
    assert again == first[:-1] + b',"history":true}'
