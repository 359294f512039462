"""What the demonstration says, and when it says that it failed."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gateway.demo.files import environment
from gateway.demo.screen import Moment, Places, counts, failures, progress, view

PLACES = Places(8421, 1883, "mosquitto", "/data", "pilot/v1")


def _moment(**changes: Any) -> Moment:
    """All is well, but for the changes."""
    counted = {"accepted": 40, "delivered": 39, "pending": 1, "dropped": 0, "dead": 0}
    sink = {
        "sink": "mqtt",
        "error": None,
        "records": counted,
        "readings": {name: 10 * count for name, count in counted.items()},
        "delivered_since_start": {"records": 39, "readings": 390},
    }
    sink |= changes.get("sink", {})
    journal = {"accepted_readings": 400, "accepted_records": 40, "bytes": 1234567, "lost_readings": 0}
    journal |= changes.get("journal", {})
    tag = {"tag": "pressure", "value": 1.02, "unit": "bar", "quality": "good", "age_s": 0.2}
    device = {"device": "wuxi/pl1/plc", "state": changes.get("state", "online"), "tags": [tag]}
    return Moment({"sinks": [sink], "journal": journal}, {"devices": [device]}, changes.get("messages", 39), values=390)


def test_all_is_well() -> None:
    assert failures(_moment(), writes=0) == []
    assert failures(_moment(messages=41), writes=0) == []  # more came since the gateway was asked


@pytest.mark.parametrize(
    ("changes", "writes", "sentence"),
    [
        ({"journal": {"accepted_readings": 0}}, 0, "nothing was accepted"),
        ({"sink": {"delivered_since_start": {"records": 0, "readings": 0}, "error": "refused"}}, 0, "broker: refused"),
        ({"messages": 38}, 0, "published 39 messages, but 38 arrived"),
        ({"journal": {"lost_readings": 3}}, 0, "3 readings were lost"),
        ({"state": "offline"}, 0, "device wuxi/pl1/plc is offline"),
        ({}, 2, "received 2 write requests"),
        ({}, None, "did not say how many writes"),
    ],
)
def test_what_failed_is_a_sentence(changes: dict[str, Any], writes: int | None, sentence: str) -> None:
    [said] = failures(_moment(**changes), writes)
    assert sentence in said


def test_dropped_and_dead_readings_are_failures() -> None:
    lost = {"accepted": 40, "delivered": 39, "pending": 0, "dropped": 1, "dead": 2}
    assert failures(_moment(sink={"readings": lost}), 0) == ["3 readings did not reach mqtt"]


def test_nothing_at_all_is_a_failure() -> None:
    assert any("nothing was accepted" in sentence for sentence in failures(Moment(), 0))


def test_the_screen_shows_places_values_and_counts() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(view(_moment(), PLACES, 12, 20))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for text in (
        "12 s of 20 s",
        ":8421/api/v1/live",
        "mosquitto_sub -h 127.0.0.1 -p 1883",
        "pressure",
        "1.02",
        "0.2 s",
    ):
        assert text in shown
    assert "400 readings in 40 records" in shown
    assert "10 pending" in shown


def test_one_line_of_progress() -> None:
    assert progress(_moment(), 4) == (
        "    4 s  1 of 1 tags good, 400 readings accepted, 10 pending, 390 arrived over MQTT"
    )
    assert counts(Moment()) == []


def test_only_an_influxdb_comes_in_from_the_environment() -> None:
    given = {
        "PATH": "/bin",
        "PILOT_GATEWAY__SINKS__INFLUXDB__URL": "http://db:8086",
        "PILOT_GATEWAY__SINKS__MQTT__HOST": "real-broker",
        "PILOT_GATEWAY__JOURNAL__DIRECTORY": "/var/lib/real",
    }
    assert environment(given) == {"PATH": "/bin", "PILOT_GATEWAY__SINKS__INFLUXDB__URL": "http://db:8086"}
