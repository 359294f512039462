"""pilot-gateway check: 0 and a plan, or 78 and every mistake."""

import json
from pathlib import Path

import pytest

from gateway.cli import main
from tests.support.config import GATEWAY, LINE, TEMPLATE, Folder

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def run(*arguments: str | Path) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def test_the_plan_as_a_table(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.device("{id: meter, template: acme-m1}")
    assert run("check", folder.path) == 0
    out, err = capsys.readouterr()
    assert "wuxi/pl1 · link bus (modbus-tcp)" in out
    rows = [[cell.strip() for cell in row.split("│")[1:-1]] for row in out.splitlines() if row.startswith("│")]
    assert rows == [
        ["meter", "1 s", "1", "1", "FC4 0x0000-0x0001, 2 registers"],
        ["meter", "10 s", "1", "1", "FC4 0x0048-0x0049, 2 registers"],
    ]
    assert "1.1 requests/s, 1.1 readings/s at most" in out
    assert "No mistakes. 1 lines, 1 links, 1 devices, 2 tags; 1 templates: acme-m1." in out
    assert err == ""


def test_the_plan_as_json(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", folder.path / "lines/pl1.yaml", "--format", "json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] is True
    assert result["mistakes"] == []
    (link,) = result["links"]
    assert (link["site"], link["line"], link["link"], link["type"]) == ("wuxi", "pl1", "bus", "modbus-tcp")
    assert link["requests"] == [
        {"device": "meter", "period_s": 1.0, "request": "FC3 0x0000-0x0001, 2 registers", "tags": 1, "seconds": 0.0}
    ]
    assert (link["requests_per_s"], link["readings_per_s"]) == (1.0, 1.0)


def test_mistakes_one_per_line_on_standard_error(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.write("gateway.yaml", "gateway: gw1\nsite: wuxi\nlog: {levle: info}\n")
    folder.write("templates/unused.yaml", TEMPLATE.replace("protocol: modbus", "protocol: modbuss"))
    folder.tag("{name: a}")
    assert run("check", folder.path) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.removeprefix(f"{folder.path}/").partition(": ")[0] for line in err.splitlines()] == [
        "gateway.yaml:3",
        "lines/pl1.yaml:3",
        "templates/unused.yaml:1",
    ]


def test_mistakes_as_json(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.tag("{name: a}")
    assert run("check", folder.path, "--format", "json") == 78
    result = json.loads(capsys.readouterr().out)
    assert (result["ok"], result["links"]) == (False, [])
    assert result["mistakes"] == [
        {
            "file": str(folder.path / "lines/pl1.yaml"),
            "line": 3,
            "key": "links[bus].devices[meter].tags[a].register",
            "message": "is missing; address on the wire, counted from 0",
        }
    ]


def test_a_template_by_itself(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder.path / "templates/acme-m1.yaml"
    assert run("check", path) == 0
    assert "1 templates: acme-m1" in capsys.readouterr().out
    path.write_text(TEMPLATE + "  - {name: flag, register: 4, type: bit, bit: 1, range: [0, 1]}\n")
    assert run("check", path) == 78
    assert capsys.readouterr().err == (
        f"{path}:11: tags[flag]: a tag of kind bool has no range; those are for numbers\n"
    )


def test_a_folder_without_gateway_file_means_every_file_in_it(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write("lines/pl2.yaml", LINE.replace("pl1", "pl2").replace("register: 0", "register: x"))
    assert run("check", folder.path / "lines") == 78
    assert (
        "pl2.yaml:9: links[bus].devices[meter].tags[power].register: must be a whole number" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "x.yaml",
            "a: 1\n",
            ":1: neither gateway.yaml (key gateway) nor a line file (key line) nor a template (key protocol)",
        ),
        ("nix.yaml", None, ": the file does not exist"),
        ("empty", None, ": no YAML file is in this folder"),
    ],
)
def test_what_is_no_configuration(
    folder: Folder, capsys: pytest.CaptureFixture[str], name: str, text: str | None, message: str
) -> None:
    path = folder.path / name
    if text is not None:
        folder.write(name, text)
    elif not path.suffix:
        path.mkdir()
    assert run("check", path) == 78
    assert capsys.readouterr().err == f"{path}{message}\n"


def test_plaintext_is_worth_a_warning(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.write("token", "t")
    folder.write(
        "gateway.yaml",
        GATEWAY + "api: {host: 0.0.0.0, token_file: token}\nsinks:\n  mqtt: {host: broker.lan}\n"
        "  local: {type: mqtt, host: 127.0.0.1}\n"
        "  safe: {type: mqtt, host: broker.lan, tls: {}}\n  influxdb: {url: 'http://db.lan:8086', bucket: b}\n"
        "  tls: {type: influxdb, url: 'https://db.lan', bucket: b}\n",
    )
    folder.device(
        "{id: d, tags: [{name: a, node: i=1}]}", "type: opcua, endpoint: opc.tcp://h:1, security: {policy: None}"
    )
    assert run("check", folder.path) == 0
    assert capsys.readouterr().err.replace(f"{folder.path}/", "").splitlines() == [
        "warning: gateway.yaml: sink mqtt: no TLS to broker.lan: anyone on the way can read values and passwords",
        "warning: gateway.yaml: sink influxdb: no TLS to db.lan: anyone on the way can read values and passwords",
        "warning: gateway.yaml: api: plain HTTP on 0.0.0.0: its token can be read on the way",
        "warning: lines/pl1.yaml: link bus: security policy None: anyone on the network can read and forge its values",
    ]


def test_the_configuration_of_this_repository(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert run("check", "config/") == 0
    out, err = capsys.readouterr()
    templates = (
        "eastron-sdm630, eurotherm-3216-float, eurotherm-3216, schneider-iem3000, schneider-iem3155, siemens-fc310"
    )
    assert f"No mistakes. 1 lines, 3 links, 5 devices, 40 tags; 6 templates: {templates}." in out
    assert err.splitlines() == [
        "warning: config/lines/reactor-skid.yaml: link plc: security policy None: "
        "anyone on the network can read and forge its values"
    ]
