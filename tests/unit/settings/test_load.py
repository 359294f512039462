"""What comes out when nothing is wrong, and how long ten thousand tags take."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.core.errors import ConfigError
from gateway.core.model import Kind
from gateway.settings import load, load_line_file
from gateway.settings.model import LogFormat, LogLevel
from tests.support.config import GATEWAY, LINE, TEMPLATE, Folder

REPOSITORY = Path(__file__).parents[3]


def test_defaults(folder: Folder) -> None:
    settings = folder.load()
    assert (settings.gateway, settings.site, dict(settings.sinks)) == ("gw1", "wuxi", {})
    assert (settings.api.host, settings.api.port, settings.api.token) == ("127.0.0.1", 8421, None)
    assert (settings.log.level, settings.log.format) == (LogLevel.INFO, LogFormat.TEXT)
    assert settings.journal.directory == Path("/var/lib/pilot-gateway/journal")
    assert settings.journal.max_bytes == 8_192_000_000


def test_a_line_becomes_links_devices_and_tags(folder: Folder) -> None:
    folder.line(
        """\
        site: jinan
        line: pl1
        area: hall-2
        names: {en: Skid, zh: ""}
        links:
          - id: bus
            type: modbus-tcp
            host: h
            devices:
              - id: jacket
                equipment: R101
                names: {zh: 夹套}
                period_s: 0.5
                enabled: false
                tags:
                  - {name: temperature, register: 1, type: int16, scale: 0.1, offset: -1, unit: Cel,
                     range: [0, 250], deadband: 0.2}
                  - {name: count, register: 2, period_s: 5, description: how often}
        """
    )
    (line,) = folder.load().lines
    assert (line.id, line.site, line.area, line.names) == ("pl1", "jinan", "hall-2", {"en": "Skid"})
    (link,) = line.links
    assert (link.id, link.type, link.options.host, link.options.devices) == ("bus", "modbus-tcp", "h", ())  # type: ignore[attr-defined]
    (device,) = line.devices
    assert (device.path, device.area, device.equipment, device.names) == (
        "jinan/pl1/jacket",
        "hall-2",
        "R101",
        {"zh": "夹套"},
    )
    assert not device.enabled
    temperature, count = device.tags
    assert (temperature.kind, temperature.scale, temperature.offset, temperature.unit) == (Kind.FLOAT, 0.1, -1, "Cel")
    assert (temperature.low, temperature.high, temperature.deadband) == (0, 250, 0.2)
    assert (temperature.period_ns, count.period_ns) == (500_000_000, 5_000_000_000)
    assert (count.kind, count.low, count.high, count.description) == (Kind.INT, None, None, "how often")


def test_sinks_take_their_type_from_their_name_or_say_it(folder: Folder) -> None:
    folder.write("gateway.yaml", GATEWAY + "sinks:\n  mqtt: {host: a}\n  backup: {type: mqtt, host: b}\n")
    sinks = folder.load().sinks
    assert [(name, sink.type) for name, sink in sinks.items()] == [("mqtt", "mqtt"), ("backup", "mqtt")]


def test_relative_paths_start_at_the_file(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("gateway.yaml", GATEWAY + "journal: {directory: state/journal}\n")
    monkeypatch.chdir(folder.path)
    assert load("gateway.yaml", {}).journal.directory == folder.path / "state/journal"


def test_line_files_come_in_order_and_once(folder: Folder) -> None:
    folder.write("gateway.yaml", GATEWAY + "lines: ['lines/*.yaml', lines/pl1.yaml, 'more/**/*.yaml']\n")
    folder.write("more/deep/b.yaml", LINE.replace("pl1", "b").replace("id: bus", "id: bus-b"))
    folder.write("lines/a.yaml", LINE.replace("pl1", "a").replace("id: bus", "id: bus-a"))
    assert [line.id for line in folder.load().lines] == ["a", "pl1", "b"]


def test_a_line_by_itself_knows_site_and_templates_of_the_folder_above(folder: Folder) -> None:
    folder.write("gateway.yaml", GATEWAY + "templates: models\n")
    folder.write("models/acme-m1.yaml", TEMPLATE)
    folder.device("{id: d, template: acme-m1}")
    line = load_line_file(folder.path / "lines/pl1.yaml")
    assert (line.site, len(line.devices[0].tags)) == ("wuxi", 2)


def test_a_line_without_any_gateway_file(folder: Folder) -> None:
    (folder.path / "gateway.yaml").unlink()
    folder.device("{id: d, template: acme-m1}")
    line = load_line_file(folder.path / "lines/pl1.yaml", site="jinan")
    assert (line.site, len(line.devices[0].tags)) == ("jinan", 2)
    with pytest.raises(ConfigError, match=r"site: is missing; say it here or once in gateway\.yaml"):
        load_line_file(folder.path / "lines/pl1.yaml")


def test_the_files_of_this_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(REPOSITORY / "config", {})
    assert list(settings.sinks) == ["mqtt"]
    (line,) = settings.lines
    assert [device.id for device in line.devices] == ["meter", "feed-flow", "jacket", "reactor", "plc"]
    tags = [tag for device in line.devices for tag in device.tags]
    assert len(tags) == 40
    assert {tag.kind for tag in tags} == set(Kind)
    assert all(tag.names.keys() == {"en", "zh"} for tag in tags)


def _many(device: str, template: bool) -> str:
    tags = "".join(
        f"          - {{name: t{k}, register: {2 * k}, type: float32, unit: V, range: [0, 9], names: {{zh: 电压}}}}\n"
        for k in range(10)
    )
    own = "" if template else f"        tags:\n{tags}"
    return "line: pl1\nlinks:\n" + "".join(
        f"  - id: bus{j}\n    type: modbus-tcp\n    host: h\n    devices:\n"
        + "".join(f"      - id: d{j}-{i}\n        address: {i}\n{device}{own}" for i in range(20))
        for j in range(50)
    )


def _check(path: Path) -> tuple[dict[str, Any], float]:
    """What ``pilot-gateway check`` says, and the processor time it takes, in s, from start to end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = "from gateway.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(path), "--format", "json"],
        capture_output=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(done.stdout), after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _allowed_s(text: str) -> float:
    """3 s on a quiet core; more where others slow it down right now.

    The measure is how long libyaml takes for the same text: 1 µs per event where the 3 s were set.
    """
    start = time.process_time()
    events = sum(1 for _ in yaml.parse(text, Loader=yaml.CSafeLoader))
    return 3 * max(1.0, (time.process_time() - start) / (events * 1e-6))


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("template", [True, False])
def test_ten_thousand_tags_are_checked_in_three_seconds(folder: Folder, template: bool) -> None:
    tags = "".join(f"  - {{name: t{k}, register: {2 * k}, type: float32, unit: V, range: [0, 9]}}\n" for k in range(10))
    folder.write("templates/ten.yaml", TEMPLATE.partition("tags:")[0] + "tags:\n" + tags)
    folder.line(_many("        template: ten\n" if template else "", template))
    allowed = _allowed_s(_many("", template=False))
    result, seconds = _check(folder.path / "gateway.yaml")
    assert sum(request["tags"] for link in result["links"] for request in link["requests"]) == 10_000
    assert seconds <= allowed


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_ten_thousand_mistakes_are_told_in_three_seconds(folder: Folder) -> None:
    text = _many("", template=False).replace("unit: V", "untt: V")
    folder.line(text)
    allowed = _allowed_s(text)
    result, seconds = _check(folder.path / "gateway.yaml")
    assert len(result["mistakes"]) == 10_000
    assert seconds <= allowed
