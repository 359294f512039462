"""What comes out when nothing is wrong, and that nothing gets lost among many."""

from pathlib import Path

import pytest

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


def _many(device: str, tags: str) -> str:
    """A line of 5 links with 20 devices each."""
    return "line: pl1\nlinks:\n" + "".join(
        f"  - id: bus{j}\n    type: modbus-tcp\n    host: h\n    devices:\n"
        + "".join(f"      - id: d{j}-{i}\n        address: {i}\n{device}{tags}" for i in range(20))
        for j in range(5)
    )


def _tags(indent: str, unit: str = "unit") -> str:
    return "".join(
        f"{indent}- {{name: t{k}, register: {2 * k}, type: float32, {unit}: V, range: [0, 9]}}\n" for k in range(10)
    )


@pytest.mark.parametrize("template", [True, False])
def test_many_devices_are_all_there(folder: Folder, template: bool) -> None:
    folder.write("templates/ten.yaml", TEMPLATE.partition("tags:")[0] + "tags:\n" + _tags("  "))
    if template:
        folder.line(_many("        template: ten\n", ""))
    else:
        folder.line(_many("        tags:\n", _tags("          ")))
    devices = folder.load().devices
    assert [device.id for device in devices] == [f"d{j}-{i}" for j in range(5) for i in range(20)]
    assert {tuple(tag.name for tag in device.tags) for device in devices} == {tuple(f"t{k}" for k in range(10))}


def test_many_mistakes_are_all_told(folder: Folder) -> None:
    text = _many("        tags:\n", _tags("          ", unit="untt"))
    folder.line(text)
    lines = [number for number, line in enumerate(text.splitlines(), 1) if "untt" in line]
    assert len(lines) == 1_000
    assert [int(mistake.split(":")[1]) for mistake in folder.mistakes()] == lines
