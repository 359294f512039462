"""What each route says."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.contracts import Newest
from gateway.core.errors import Mistake
from gateway.core.quality import Status
from gateway.health import SinkHealth, State

from .conftest import NOW_NS, THEN_NS, Insides


async def test_live_gives_every_tag_of_every_device(api: httpx.AsyncClient, insides: Insides) -> None:
    jacket, _ = insides.devices
    insides.put(jacket, (80.4, 7))
    answer = await api.get("/api/v1/live")
    assert answer.status_code == 200
    body = answer.json()
    assert body["time"] == NOW_NS // 1_000_000
    assert [entry["device"] for entry in body["devices"]] == ["wuxi/pl1/jacket", "wuxi/pl1/reactor"]
    assert body["devices"][0]["tags"][0] == {
        "tag": "temperature",
        "value": 80.4,
        "unit": "Cel",
        "quality": "good",
        "status": 0,
        "time": THEN_NS // 1_000_000,
        "age_s": 0.5,
    }
    never = body["devices"][1]["tags"][0]
    assert (never["value"], never["quality"], never["time"], never["age_s"]) == (None, "bad", None, None)
    assert never["status"] == Status.BAD_WAITING_FOR_INITIAL_DATA


async def test_live_of_chosen_devices(api: httpx.AsyncClient) -> None:
    body = (await api.get("/api/v1/live", params={"device": "wuxi/pl1/reactor"})).json()
    assert [entry["device"] for entry in body["devices"]] == ["wuxi/pl1/reactor"]


async def test_an_unknown_device_is_named(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/v1/live", params={"device": "wuxi/pl1/nothing"})
    assert answer.status_code == 404
    assert "wuxi/pl1/nothing" in answer.json()["error"]


@pytest.mark.parametrize(
    ("value", "said"), [(2**53, 2**53), (2**53 + 1, str(2**53 + 1)), (-(2**63), str(-(2**63))), (2**80, str(2**80))]
)
async def test_integers_that_javascript_cannot_hold_are_text(
    api: httpx.AsyncClient, insides: Insides, value: int, said: int | str
) -> None:
    jacket, _ = insides.devices
    insides.put(jacket, (1.0, 0))
    insides.board.newest(jacket)
    insides.board._entries[jacket.path].newest = Newest((1.0, value), (0, 0), (THEN_NS, THEN_NS))
    body = (await api.get("/api/v1/live")).json()
    assert body["devices"][0]["tags"][1]["value"] == said


async def test_nan_never(api: httpx.AsyncClient, insides: Insides) -> None:
    jacket, _ = insides.devices
    insides.put(jacket, (float("nan"), 1))
    answer = await api.get("/api/v1/live")
    assert b"NaN" not in answer.content
    assert answer.json()["devices"][0]["tags"][0]["value"] is None


async def test_devices_say_where_they_are(api: httpx.AsyncClient, insides: Insides) -> None:
    jacket, _ = insides.devices
    insides.board.set_state(jacket, State.OFFLINE, "no answer within 1 s", THEN_NS)
    first = (await api.get("/api/v1/devices")).json()["devices"][0]
    assert first["address"] == "modbus-tcp://10.0.0.7:502/2"
    assert (first["state"], first["error"]) == ("offline", "no answer within 1 s")
    assert first["since"] == THEN_NS // 1_000_000
    assert first["tags"][0]["names"] == {"zh": "温度"}
    temperature, counter = first["tags"]
    assert (temperature["low"], temperature["high"]) == (0, 250)
    assert (temperature["wrap"], temperature["enum"], temperature["bits"]) == (None, {}, {})
    assert (counter["wrap"], counter["enum"], counter["bits"]) == (1e6, {"10": "full", "0": "empty"}, {"3": "hot"})


async def test_status_accounts_for_every_reading(api: httpx.AsyncClient) -> None:
    body = (await api.get("/api/v1/status")).json()
    assert body["ready"] is True
    assert body["uptime_s"] == 90.0
    [link] = body["links"]
    assert (link["link"], link["state"], link["address"]) == ("bus", "online", "modbus-tcp://10.0.0.7:502")
    [sink] = body["sinks"]
    assert sink["records"] == {"accepted": 46, "delivered": 40, "pending": 3, "dropped": 2, "dead": 1}
    assert sink["readings"] == {"accepted": 460, "delivered": 400, "pending": 30, "dropped": 20, "dead": 10}
    assert sink["delivered_since_start"] == {"records": 9, "readings": 90}
    assert sink["writes"] == 38
    assert body["journal"]["accepted_records"] == 46
    assert body["journal"]["lost_readings"] == 10
    assert body["journal"]["oldest_age_s"] == 60.0
    assert body["plaintext"] == ["link bus: Modbus TCP is not encrypted"]


async def test_ready_when_the_journal_accepts_and_every_link_was_tried(
    api: httpx.AsyncClient, insides: Insides
) -> None:
    assert (await api.get("/readyz")).status_code == 200
    link = insides.health.links["bus"]
    link.connects, link.state = 0, State.CONNECTING
    answer = await api.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["link bus has not been tried yet"])
    link.failures = 1  # tried in vain: the gateway itself is ready, the link's own state says the rest
    assert (await api.get("/readyz")).status_code == 200
    insides.journal.fail("the disk is full")
    answer = await api.get("/readyz")
    assert answer.status_code == 503
    assert "the disk is full" in answer.json()["reasons"][0]
    assert (await api.get("/healthz")).status_code == 200


async def test_metrics(api: httpx.AsyncClient, insides: Insides) -> None:
    insides.put(insides.devices[0], (80.4, 7))
    answer = await api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    link = (("link", "bus"), ("type", "modbus-tcp"))
    sink = (("sink", "mqtt"), ("type", "mqtt"))
    assert samples[("pilot_gateway_link_readings_total", *link)] == 10
    assert samples[("pilot_gateway_link_state", link[0], ("state", "online"), link[1])] == 1
    assert samples[("pilot_gateway_link_state", link[0], ("state", "offline"), link[1])] == 0
    assert samples[("pilot_gateway_sink_delivered_readings_total", *sink)] == 400
    assert samples[("pilot_gateway_sink_accepted_readings_total", *sink)] == 460
    assert samples[("pilot_gateway_sink_pending_records", *sink)] == 3
    assert samples[("pilot_gateway_sink_dead_readings_total", *sink)] == 10
    assert samples[("pilot_gateway_sink_writes_total", *sink)] == 38
    assert samples[("pilot_gateway_sink_dropped_readings_total", *sink)] == 20
    assert samples[("pilot_gateway_journal_accepted_readings_total",)] == 460
    assert samples[("pilot_gateway_journal_lost_readings_total",)] == 10
    assert samples[("pilot_gateway_journal_bytes",)] == 8192
    assert samples[("pilot_gateway_journal_oldest_record_age_seconds",)] == 60
    device = (("device", "jacket"), ("line", "pl1"), ("site", "wuxi"))
    assert samples[("pilot_gateway_device_newest_value_age_seconds", *device)] == 0.5
    assert samples[("process_resident_memory_bytes",)] > 1_000_000


async def test_openmetrics_for_those_who_ask(api: httpx.AsyncClient) -> None:
    answer = await api.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_the_api_only_reads(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/v1/live")
    assert answer.status_code == 405
    assert answer.json()["error"] == "POST is not possible at /api/v1/live"


async def test_nothing_there(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/v2/live")
    assert (answer.status_code, answer.json()) == (404, {"error": "there is nothing at /api/v2/live"})


async def test_a_sink_before_its_first_record(api: httpx.AsyncClient, insides: Insides) -> None:
    insides.health.sinks["influxdb"] = SinkHealth("influxdb", "influxdb")
    body = (await api.get("/api/v1/status")).json()
    assert set(body["sinks"][1]["readings"].values()) == {0}
    assert 'sink_pending_readings{sink="influxdb",type="influxdb"} 0.0' in (await api.get("/metrics")).text


async def test_a_bug_is_a_500_in_json(api: httpx.AsyncClient, insides: Insides) -> None:
    insides.health.links["bus"] = None  # type: ignore[assignment]
    answer = await api.get("/api/v1/status")
    assert answer.status_code == 500
    assert "its log says more" in answer.json()["error"]


async def test_a_reload_says_what_changed(api: httpx.AsyncClient, insides: Insides) -> None:
    answer = await api.post("/api/v1/reload")
    assert (answer.status_code, answer.json()["links"]["added"], insides.reloads) == (200, ["bus2"], 1)


async def test_a_reload_of_wrong_files_says_every_mistake(api: httpx.AsyncClient, insides: Insides) -> None:
    insides.mistakes = (Mistake("gateway.yaml", 3, "gatway", "unknown key"), Mistake("l.yaml", 0, "", "is empty"))
    answer = await api.post("/api/v1/reload")
    assert answer.status_code == 422
    assert answer.json()["mistakes"] == [
        {"file": "gateway.yaml", "line": 3, "key": "gatway", "message": "unknown key"},
        {"file": "l.yaml", "line": 0, "key": "", "message": "is empty"},
    ]


async def test_reading_does_not_reload(api: httpx.AsyncClient, insides: Insides) -> None:
    assert (await api.get("/api/v1/reload")).status_code == 405
    assert insides.reloads == 0


async def test_configuration_and_clock_are_in_status_and_metrics(api: httpx.AsyncClient, insides: Insides) -> None:
    insides.health.config.error = "1 mistakes, first: x"
    insides.health.clock.synchronised = False
    insides.health.clock.steps = 2
    status = (await api.get("/api/v1/status")).json()
    assert status["configuration"]["error"] == "1 mistakes, first: x"
    assert (status["clock"]["synchronised"], status["clock"]["steps"]) == (False, 2)
    metrics = (await api.get("/metrics")).text
    assert "pilot_gateway_configuration_faulty 1.0" in metrics
    assert "pilot_gateway_clock_steps_total 2.0" in metrics
    assert "pilot_gateway_clock_synchronised 0.0" in metrics
