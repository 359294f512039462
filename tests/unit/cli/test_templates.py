"""``templates list``, ``show`` and ``check``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import cli
from gateway.cli.places import config_folder
from gateway.core.errors import ConfigError, GatewayError

SHIPPED = config_folder() / "templates"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["templates", *arguments])


def test_every_shipped_template_is_listed_with_where_it_comes_from() -> None:
    rows = json.loads(run("list", "--folder", str(SHIPPED), "--format", "json").stdout)
    assert {row["template"] for row in rows} == {path.stem for path in SHIPPED.glob("*.yaml")}
    assert all(row["source"] and row["verified"] in ("document", "code", "none") for row in rows)
    shown = run("list", "--folder", str(SHIPPED)).stdout
    assert "Eastron" in shown
    assert "SDM630" in shown


def test_a_member_of_a_family_shows_the_map_of_its_family() -> None:
    told = json.loads(run("show", "schneider-iem3155", "--folder", str(SHIPPED), "--format", "json").stdout)
    assert (told["manufacturer"], told["model"], told["extends"]) == (
        "Schneider Electric",
        "iEM3155",
        "schneider-iem3000",
    )
    assert told["tag_count"] == 8
    assert {tag["register"] for tag in told["tags"]} >= {2999, 3027}
    shown = run("show", "eurotherm-3216-float", "--folder", str(SHIPPED)).stdout
    assert "32770" in shown  # 0x8002
    assert "测量值" in shown


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    result = run("show", "eastron-sdm63", "--folder", str(SHIPPED))
    assert isinstance(result.exception, GatewayError)
    assert 'did you mean "eastron-sdm630"' in str(result.exception)


def test_check_says_what_is_wrong_where(tmp_path: Path) -> None:
    good = run("check", *map(str, SHIPPED.glob("*.yaml")))
    assert good.exit_code == 0
    assert good.stdout.startswith(f"No mistakes. {len(list(SHIPPED.glob('*.yaml')))} templates")
    file = tmp_path / "m.yaml"
    file.write_text("protocol: modbus\nmanufacturer: A\nmodel: B\nsource: c\nverified: nobody\ntags: []\n")
    wrong = run("check", str(file))
    assert isinstance(wrong.exception, ConfigError)
    assert f"{file}:5: verified:" in str(wrong.exception)


def test_a_line_file_is_no_template() -> None:
    result = run("check", str(SHIPPED.parent / "lines" / "reactor-skid.yaml"))
    assert isinstance(result.exception, ConfigError)
    assert "is a line file" in str(result.exception)


@pytest.mark.parametrize("command", ["list", "show", "check"])
def test_help_has_an_example(command: str) -> None:
    assert f"pilot-gateway templates {command}" in run(command, "--help").stdout
