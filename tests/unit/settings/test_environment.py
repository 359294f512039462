"""PILOT_GATEWAY__… lies over the file; what is wrong with a variable names the variable."""

import pytest

from gateway.sinks.options import InfluxDbOptions, MqttOptions
from tests.support.config import Folder

P = "PILOT_GATEWAY__"


def test_a_variable_wins_over_the_file(folder: Folder) -> None:
    folder.write("gateway.yaml", "gateway: gw1\nsite: wuxi\napi: {port: 1, host: localhost}\n")
    settings = folder.load({P + "API__PORT": "9000", P + "SITE": "jinan", "OTHER": "x"})
    assert (settings.api.port, settings.api.host, settings.site) == (9000, "localhost", "jinan")
    assert settings.lines[0].site == "jinan"


def test_a_sink_may_come_from_the_environment_alone(folder: Folder) -> None:
    settings = folder.load(
        {
            P + "SINKS__INFLUXDB__URL": "http://h:8086",
            P + "SINKS__INFLUXDB__BUCKET": "b",
            P + "SINKS__INFLUXDB__TOKEN": "t",
        }
    )
    sink = settings.sinks["influxdb"]
    assert isinstance(sink, InfluxDbOptions)
    assert sink.token is not None
    assert (sink.url, sink.token.get_secret_value()) == ("http://h:8086", "t")


def test_a_name_with_a_hyphen_is_reached_with_an_underscore(folder: Folder) -> None:
    folder.write("gateway.yaml", "gateway: gw1\nsite: wuxi\nsinks:\n  main-broker: {type: mqtt, host: h}\n")
    sink = folder.load({P + "SINKS__MAIN_BROKER__PORT": "1884"}).sinks["main-broker"]
    assert isinstance(sink, MqttOptions)
    assert sink.port == 1884


def test_text_stays_text_where_text_is_wanted(folder: Folder) -> None:
    settings = folder.load({P + "API__TOKEN": "12345", P + "API__HOST": "10.0.0.7"})
    assert settings.api.token is not None
    assert settings.api.token.get_secret_value() == "12345"


def test_lists_are_written_as_in_yaml(folder: Folder) -> None:
    assert len(folder.load({P + "LINES": '["lines/*.yaml"]'}).lines) == 1


def test_a_map_in_a_variable_lies_over_the_file_key_by_key(folder: Folder) -> None:
    folder.write("gateway.yaml", "gateway: gw1\nsite: wuxi\napi: {port: 1, host: localhost}\n")
    settings = folder.load({P + "API": "{port: 9000}"})
    assert (settings.api.port, settings.api.host) == (9000, "localhost")
    assert folder.mistakes({P + "API": "{prt: 9000}"}) == [
        f'environment {P}API: api.prt: unknown key; did you mean "port"?'
    ]


def test_a_variable_replaces_a_list(folder: Folder) -> None:
    folder.write("gateway.yaml", "gateway: gw1\nsite: wuxi\nlines: [a.yaml, b.yaml]\n")
    assert [line.id for line in folder.load({P + "LINES": "[lines/pl1.yaml]"}).lines] == ["pl1"]


def test_the_environment_of_the_process_is_not_looked_at_where_another_is_given(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (P + "SITE", "SITE", "GATEWAY"):  # the last two are what pydantic-settings would look for by itself
        monkeypatch.setenv(name, "elsewhere")
    settings = folder.load({})
    assert (settings.gateway, settings.site) == ("gw1", "wuxi")


def test_an_empty_variable_does_not_count(folder: Folder) -> None:
    settings = folder.load({P + "SINKS__INFLUXDB__URL": "", P + "SITE": "  "})
    assert (settings.sinks, settings.site) == ({}, "wuxi")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("API__PORT", "x", 'api.port: must be a whole number (0 to 65535), not "x"'),
        ("API__PORT", "70000", "api.port: 70000 is out of range; allowed: 0 to 65535"),
        ("LOGG__LEVEL", "debug", 'logg: unknown key; did you mean "log"?'),
        ("LOG__LEVL", "debug", 'log.levl: unknown key; did you mean "level"?'),
        ("API", "x", "api: must be a map of keys, not text; the local HTTP API"),
        (
            "SINKS",
            "x",
            "sinks: must be a map of keys, not text; where the values go: a name and what it is; "
            "each has its own place in the journal",
        ),
        ("SELF", "1", "self: unknown key; allowed: gateway, site, journal, sinks, api, log, lines, templates"),
        ("API__", "1", "not a name; write PILOT_GATEWAY__KEY or PILOT_GATEWAY__KEY__KEY"),
        ("LINES", "[nix.yaml]", "lines: no file is called nix.yaml; a gateway needs at least one line"),
        ("LINES", "[", "lines: must be a list, not text; line files, relative to this file; * stands for any name"),
    ],
)
def test_mistakes_name_the_variable(folder: Folder, name: str, value: str, message: str) -> None:
    assert folder.mistakes({P + name: value}) == [f"environment {P}{name}: {message}"]


def test_what_a_variable_leaves_out_names_the_variable_too(folder: Folder) -> None:
    (mistake,) = folder.mistakes({P + "SINKS__INFLUXDB__URL": "http://h:1"})
    assert mistake.startswith(f"environment {P}SINKS__INFLUXDB__URL: sinks.influxdb.bucket: is missing")
