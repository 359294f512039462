"""``tags export`` and ``tags import``: a spreadsheet and the line file it belongs to."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import cli
from gateway.core.errors import ConfigError, GatewayError
from tests.support.config import Folder

LINE = """\
# the skid
line: pl1
links:
  - id: bus          # RS-485
    type: modbus-tcp
    host: 127.0.0.1
    devices:
      - id: meter
        template: acme-m1
        tags:
          - {name: voltage, unit: kV}  # at the transformer
      # the vessel
      - id: vessel
        function: 4
        tags:
          - name: temperature
            register: 10
            type: int16
            scale: 0.1
            unit: Cel
          - {name: level, register: 12, type: float32, unit: "%", description: "=SUM(A1)"}

        # after the tags
        period_s: 2
      - {id: bare, template: acme-m1, address: 3}
  - id: plc
    type: opcua
    endpoint: opc.tcp://h:4840
    security: {policy: None}
    devices: [{id: plc, tags: [{name: pressure, node: "nsu=urn:plc;s=P", unit: bar}]}]   # inline
"""


@pytest.fixture
def line(tmp_path: Path) -> Path:
    folder = Folder(tmp_path)
    return folder.line(LINE)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["tags", *map(str, arguments)])


def sheet(line: Path, device: str, name: str = "tags.csv", *more: str) -> Path:
    file = line.parents[1] / name
    result = run("export", line, "--device", device, "-o", file, *more)
    assert result.exit_code == 0, result.output
    return file


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def write(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("device", ["meter", "vessel", "bare", "plc"])
@pytest.mark.parametrize("name", ["tags.csv", "tags.xlsx"])
@pytest.mark.parametrize("more", [(), ("--base", "4xxxx"), ("--base", "1", "--language", "zh")])
def test_a_round_trip_changes_nothing(line: Path, device: str, name: str, more: tuple[str, ...]) -> None:
    result = run("import", sheet(line, device, name, *more), line, "--device", device)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("nothing changes\n")
    assert line.read_text() == LINE
    assert not line.with_name("pl1.yaml.bak").exists()


def test_only_the_block_of_the_device_changes_and_the_old_file_is_kept(line: Path) -> None:
    file = sheet(line, "vessel")
    rows = table(file)
    rows[0]["unit"] = "K"
    rows[1] = rows[1] | {"name": "pressure", "register": "20"}
    write(file, rows)
    dry = run("import", file, line, "--device", "vessel", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert line.read_text() == LINE
    for sentence in (
        "- level",
        '+ {name: pressure, register: 20, type: float32, unit: "%", description: "=SUM(A1)"}',
        "~ temperature: unit: Cel -> K",
        "1 added, 1 changed, 1 removed",
        "(dry run)",
    ):
        assert sentence in dry.stdout
    assert run("import", file, line, "--device", "vessel").exit_code == 0
    head, rest = LINE.split("          - name: temperature\n")
    tail = rest.split('description: "=SUM(A1)"}\n')[1]
    assert line.read_text() == (
        head
        + "          - {name: temperature, register: 10, type: int16, scale: 0.1, unit: K}\n"
        + '          - {name: pressure, register: 20, type: float32, unit: "%", description: "=SUM(A1)"}\n'
        + tail
    )
    assert line.with_name("pl1.yaml.bak").read_text() == LINE
    assert {path.name for path in line.parent.iterdir()} == {"pl1.yaml", "pl1.yaml.bak"}


def test_of_a_template_only_what_differs_is_written(line: Path) -> None:
    file = sheet(line, "bare")
    rows = table(file)
    rows[0]["range_high"] = "400"
    write(file, rows)
    assert run("import", file, line, "--device", "bare").exit_code == 0
    assert "{id: bare, template: acme-m1, address: 3, tags: [{name: voltage, range: [0, 400]}]}" in line.read_text()


def test_what_the_template_says_is_not_removed_by_a_sheet(line: Path) -> None:
    file = sheet(line, "bare")
    rows = table(file)
    write(file, rows[:1])
    result = run("import", file, line, "--device", "bare")
    assert isinstance(result.exception, GatewayError)
    assert "without: [energy]" in str(result.exception)
    rows[1]["unit"] = ""
    write(file, rows)
    result = run("import", file, line, "--device", "bare")
    assert "energy: the template says unit" in str(result.exception)
    assert line.read_text() == LINE


def test_a_node_of_opcua_in_flow_style(line: Path) -> None:
    file = sheet(line, "plc")
    rows = table(file)
    rows.append(
        rows[0] | {"name": "level", "node": "nsu=urn:plc;s=L", "unit": "", "range_low": "-1.5", "range_high": "2"}
    )
    write(file, rows)
    assert run("import", file, line, "--device", "plc").exit_code == 0
    assert line.read_text().endswith('{name: level, node: "nsu=urn:plc;s=L", range: [-1.5, 2]}]}]   # inline\n')


def test_several_mistakes_of_one_row_are_told_at_once(line: Path) -> None:
    file = line.parents[1] / "tags.csv"
    file.write_text("name;register;type;range_low;scale;备注\nTemp;A1;float;1;0,1;x\n")
    result = run("import", file, line, "--device", "vessel")
    assert isinstance(result.exception, ConfigError)
    told = [str(mistake).removeprefix(f"{file}:2: ") for mistake in result.exception.mistakes]
    assert [each.split(": ")[0] for each in told] == ["range_high", "register", "name", "scale", "type"]
    assert told[3] == 'scale: must be a number, not "0,1"; write 0.1'


def test_addresses_of_two_kinds_are_pointed_at(line: Path) -> None:
    file = line.parents[1] / "tags.csv"
    file.write_text("name,register\na,43001\nb,13\n")
    result = run("import", file, line, "--device", "vessel", "--dry-run")
    assert "taken as counted from 0" in result.output
    assert "43001 look like 4xxxx, the others do not" in result.output


def test_every_mistake_of_every_row_is_told_at_once(line: Path) -> None:
    file = line.parents[1] / "tags.csv"
    file.write_text(
        "name,register,type,unit,range_low,range_high,scale,address_base,function\n"
        "Temp,1,int16,Cel,,,,,\n"
        "b,70000,int16,Cel,,,,,\n"
        "c,3,flot32,,,,,,\n"
        "d,4,int16,,5,1,,,\n"
        "e,5,int16,,1,,,,\n"
        "f,6,int16,,,,fast,,\n"
        "g,40001,int16,,,,,4xxxx,4\n"
        "h,8,int16,,,,,7,\n"
        "h2,9,bit,,,,,,\n"
        "i,10,int16,,,,,,\n"
        "i,11,int16,,,,,,\n"
    )
    result = run("import", file, line, "--device", "vessel")
    assert isinstance(result.exception, ConfigError)
    told = [str(mistake).removeprefix(f"{file}:") for mistake in result.exception.mistakes]
    assert [each.split(": ")[0] for each in told] == [str(row) for row in range(2, 11)] + ["12"]
    assert [each.split(": ")[1] for each in told] == [
        "name", "register", "type", "d", "range_high", "scale", "register", "address_base", "h2", "name",
    ]  # fmt: skip
    assert "allowed: 0 to 65535" in told[1]
    assert 'did you mean "float32"' in told[2]
    assert "two tags are called i; the other is in row 11" in told[-1]
    assert line.read_text() == LINE


def test_unknown_and_missing_columns(line: Path) -> None:
    file = line.parents[1] / "tags.csv"
    file.write_text("name;registr;unit\na;1;V\n")
    result = run("import", file, line, "--device", "vessel")
    assert f'{file}:1: registr: unknown column; did you mean "register"?' in str(result.exception)
    assert "register: this column is missing (in Chinese: 地址)" in str(result.exception)


def test_short_and_long_rows_are_told(line: Path) -> None:
    file = line.parents[1] / "tags.csv"
    file.write_text("unit,type,register,name\nV\nV,int16,3,c,oops\n\n")
    result = run("import", file, line, "--device", "vessel")
    told = str(result.exception)
    assert f"{file}:2: name: is missing" in told
    assert f"{file}:2: register: is missing" in told
    assert f"{file}:3: c: more cells than the header has columns" in told


def test_addresses_that_all_look_like_4xxxx_are_taken_so_and_that_is_said(line: Path) -> None:
    file = line.parents[1] / "tags.csv"
    file.write_bytes("名称,地址,数据类型,单位\na,30011,int16,K\nb,40021,int16,K\n".encode("gb18030"))
    result = run("import", file, line, "--device", "vessel")
    assert "taken as 4xxxx notation" in result.stdout
    assert "- {name: a, register: 10, type: int16, unit: K}" in line.read_text()  # function 4 is the device's
    assert "- {name: b, register: 20, function: 3, type: int16, unit: K}" in line.read_text()


def test_a_file_that_is_none_is_a_sentence(line: Path) -> None:
    broken = line.parents[1] / "tags.xlsx"
    broken.write_bytes(b"PK nonsense")
    assert "cannot be read as xlsx" in str(run("import", broken, line, "--device", "vessel").exception)
    gone = run("import", line.parents[1] / "gone.csv", line, "--device", "vessel")
    assert "gone.csv cannot be read: No such file" in str(gone.exception)
    assert "there are meter, vessel" in run("import", broken, line).output


def test_without_the_extra_xlsx_says_what_is_missing(line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    result = run("export", line, "--device", "vessel", "-o", line.parents[1] / "tags.xlsx")
    assert "pilot-gateway[spreadsheet]" in str(result.exception)


def test_a_byte_order_mark_windows_ends_and_a_link_are_kept(line: Path) -> None:
    real = line.with_name("real.txt")
    real.write_bytes(b"\xef\xbb\xbf" + LINE.replace("\n", "\r\n").encode())
    line.unlink()
    line.symlink_to(real)
    file = sheet(line, "vessel")
    rows = table(file)
    rows[0]["unit"] = "K"
    write(file, rows)
    assert run("import", file, line, "--device", "vessel").exit_code == 0
    assert line.is_symlink()
    text = real.read_bytes().decode()
    assert text.startswith("\ufeff# the skid\r\n")
    assert (
        "        tags:\r\n          - {name: temperature, register: 10, type: int16, scale: 0.1, unit: K}\r\n" in text
    )
    assert text.count("\n") == text.count("\r\n")
    assert run("import", file, line, "--device", "vessel").stdout.endswith("nothing changes\n")


def test_tags_that_two_devices_share_are_left_alone(line: Path) -> None:
    line.write_text(
        "line: pl1\nlinks:\n  - id: bus\n    type: modbus-tcp\n    host: h\n    devices:\n"
        "      - id: a\n        tags: &all\n          - {name: t, register: 1}\n"
        "      - id: b\n        address: 2\n        tags: *all\n"
    )
    before = line.read_text()
    for device in ("a", "b"):
        file = sheet(line, device)
        rows = table(file)
        rows[0]["unit"] = "K"
        write(file, rows)
        assert "edit them by hand" in str(run("import", file, line, "--device", device).exception)
    assert line.read_text() == before
