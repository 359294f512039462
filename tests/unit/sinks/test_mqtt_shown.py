"""What a broker shows is known again after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.sinks.mqtt_shown import ShownDevices
from tests.support.batches import device

DEVICES = [device("meter"), device("reactor")]


def paths(shown: ShownDevices) -> list[str]:
    return [each.path for each in shown.read()]


def test_what_was_written_is_read_in_the_next_life(tmp_path: Path) -> None:
    shown = ShownDevices(tmp_path, "mqtt", "h:1883", "pilot/v1")
    assert paths(shown) == []
    assert shown.differs([])
    shown.write(DEVICES)
    assert not shown.differs(DEVICES)
    assert shown.differs(DEVICES[:1])
    assert paths(ShownDevices(tmp_path, "mqtt", "h:1883", "pilot/v1")) == ["wuxi/pl1/meter", "wuxi/pl1/reactor"]
    assert paths(ShownDevices(tmp_path, "other", "h:1883", "pilot/v1")) == []


@pytest.mark.parametrize("elsewhere", [("other:1883", "pilot/v1"), ("h:1883", "copy")])
def test_another_broker_or_prefix_was_shown_nothing(tmp_path: Path, elsewhere: tuple[str, str]) -> None:
    ShownDevices(tmp_path, "mqtt", "h:1883", "pilot/v1").write(DEVICES)
    assert paths(ShownDevices(tmp_path, "mqtt", *elsewhere)) == []


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"broker": "h:1883", "prefix": "pilot/v1", "devices": [[1]]}'])
def test_a_file_that_makes_no_sense_is_a_warning(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "shown-mqtt.json").write_text(content)
    shown = ShownDevices(tmp_path, "mqtt", "h:1883", "pilot/v1")
    assert paths(shown) == []
    assert "cannot be read from" in caplog.text
    shown.write(DEVICES)
    assert len(paths(shown)) == 2


def test_a_file_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shown = ShownDevices(tmp_path / "missing", "mqtt", "h:1883", "pilot/v1")
    shown.write(DEVICES)
    assert "cannot be kept in" in caplog.text
    assert not shown.differs(DEVICES)


def test_without_a_directory_nothing_is_kept() -> None:
    shown = ShownDevices(None, "mqtt", "h:1883", "pilot/v1")
    assert not shown.differs(DEVICES)
    assert paths(shown) == []
