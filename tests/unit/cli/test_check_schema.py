"""pilot-gateway schema, and the command as a whole: help, version, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

import gateway.cli
from gateway import __version__
from gateway.cli import COMMANDS, Entry, main
from gateway.core.errors import GatewayError
from gateway.settings.schema import NAMES


def run(*arguments: str) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


def test_a_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema", "line") == 0
    assert json.loads(capsys.readouterr().out)["properties"].keys() == {"site", "line", "area", "names", "links"}


def test_all_schemas_are_written(tmp_path: Path) -> None:
    assert run("schema", "--write", str(tmp_path / "schema")) == 0
    assert {path.stem for path in (tmp_path / "schema").iterdir()} == set(NAMES)


@pytest.mark.parametrize(
    "arguments", [["schema"], ["schema", "line", "--write", "x"], ["schema", "lien"], ["chekc"], ["--nix"]]
)
def test_wrong_use_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert "Error: " in capsys.readouterr().err


def test_a_misspelt_command_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    run("chekc")
    assert 'Error: no command "chekc"; did you mean "check"?' in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"pilot-gateway, version {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    assert f"  pilot-gateway {name}" in capsys.readouterr().out.partition("Example")[2]


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)


def test_check_imports_no_library_of_broker_database_or_instruments() -> None:
    code = (
        "import sys\nfrom gateway.cli import main\n"
        "try: main(['check', 'config/'])\nexcept SystemExit as stop: assert not stop.code, stop.code\n"
        "print([name for name in ('pymodbus', 'asyncua', 'paho', 'influxdb_client', 'uvicorn') if name in sys.modules])"
    )
    repository = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_error_of_the_gateway_is_one_sentence_and_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.cli, "COMMANDS", {"fail": Entry(f"{__name__}:fail", "")})
    assert run("fail") == 1
    assert capsys.readouterr().err == "pilot-gateway: port 8421 is taken\n"


@click.command()
def fail() -> None:
    raise GatewayError("port 8421 is taken")
