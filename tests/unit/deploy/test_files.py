"""What stands in deploy/ names files, commands, ports and folders of other places, and must keep naming them."""

from __future__ import annotations

import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import yaml

from gateway.settings import ApiOptions, JournalOptions, load
from tests.support.processes import ROOT, program

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "pilot-gateway.service"
COMPOSE_FOLDER = DEPLOY / "docker"


def unit_values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((COMPOSE_FOLDER / "compose.yaml").read_text())
    return loaded


def dockerfile() -> list[list[str]]:
    """The instructions, each as its words."""
    text = re.sub(r"\\\n", " ", (COMPOSE_FOLDER / "Dockerfile").read_text())
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def script_name() -> str:
    (name,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    return str(name)


def test_the_unit_runs_the_installed_command_and_stops_at_a_wrong_configuration() -> None:
    assert unit_values("ExecStart") == [
        f"/opt/pilot-gateway/bin/{script_name()} serve --config /etc/pilot-gateway/gateway.yaml"
    ]
    assert unit_values("RestartPreventExitStatus") == ["78"]
    assert unit_values("Restart") == ["on-failure"]


def test_the_unit_may_write_where_the_journal_lies_by_default_and_nowhere_else() -> None:
    (state,) = unit_values("StateDirectory")
    assert Path(JournalOptions().directory).parent == Path("/var/lib") / state
    assert unit_values("ProtectSystem") == ["strict"]
    assert unit_values("ReadWritePaths") == []


def test_the_unit_is_valid(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    unit = tmp_path / UNIT.name
    # The program is not installed here, and verify looks for it.
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_compose_mounts_and_builds_from_what_exists() -> None:
    for name, service in compose()["services"].items():
        if build := service.get("build"):
            assert (COMPOSE_FOLDER / build["context"] / build["dockerfile"]).is_file()
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (COMPOSE_FOLDER / source).exists(), f"{name}: {volume}"
            else:
                assert source in compose()["volumes"], f"{name}: {volume}"
        assert set(service.get("secrets", ())) <= set(compose()["secrets"])


def test_compose_opens_no_port_to_the_network() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_gateway_of_compose_meets_the_other_services() -> None:
    services = compose()["services"]
    config = yaml.safe_load((COMPOSE_FOLDER / "gateway.yaml").read_text())
    mqtt, influxdb = config["sinks"]["mqtt"], config["sinks"]["influxdb"]
    assert mqtt["host"] in services
    assert influxdb["url"] == "http://influxdb:8086"
    assert "influxdb" in services
    environment = services["influxdb"]["environment"]
    assert (influxdb["org"], influxdb["bucket"]) == (
        environment["DOCKER_INFLUXDB_INIT_ORG"],
        environment["DOCKER_INFLUXDB_INIT_BUCKET"],
    )
    given = {f"/run/secrets/{name}" for name in services["gateway"]["secrets"]}
    assert {mqtt["password_file"], influxdb["token_file"]} == given
    assert f"-c /mosquitto/data/passwords {mqtt['username']} " in services["mosquitto"]["command"][2]


def test_the_gateway_of_compose_accepts_its_configuration(tmp_path: Path) -> None:
    """The folders as the container sees them: each mount at its place."""
    for volume in compose()["services"]["gateway"]["volumes"]:
        source, target = volume.split(":")[:2]
        if source.startswith("."):
            (tmp_path / Path(target).name).symlink_to((COMPOSE_FOLDER / source).resolve())
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in compose()["services"]["gateway"]["secrets"]:
        (secrets / name).write_text("x")
    config = (tmp_path / "gateway.yaml").read_text().replace("/run/secrets", str(secrets))
    (tmp_path / "gateway.yaml").unlink()
    (tmp_path / "gateway.yaml").write_text(config)
    settings = load(tmp_path / "gateway.yaml", {})
    assert [device.path for device in settings.devices] == ["wuxi/pl1/meter"]
    assert set(settings.sinks) == {"mqtt", "influxdb"}


def test_every_secret_of_compose_is_made_by_the_script(tmp_path: Path) -> None:
    script = ["sh", str(COMPOSE_FOLDER / "prepare.sh")]
    for _ in range(2):  # the second time changes nothing
        done = subprocess.run(
            script,
            env={"PILOT_SECRETS": str(tmp_path / "secrets"), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    assert done.stdout == ""
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in compose()["secrets"].values()}
    assert all(re.fullmatch("[0-9a-f]{64}", text) for text in made.values())
    assert len(set(made.values())) == len(made)
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_the_image_copies_what_exists_and_what_the_context_lets_through() -> None:
    let_through = {
        line.removeprefix("!").strip()
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for words in dockerfile():
        if words[0] == "COPY" and not words[1].startswith("--from"):
            for source in words[1:-1]:
                assert (ROOT / source).exists(), source
                assert source in let_through, source


def test_the_image_runs_the_command_as_nobody_special() -> None:
    instructions = dockerfile()
    assert ["ENTRYPOINT", f'["{script_name()}"]'] in instructions
    users = [words[1] for words in instructions if words[0] == "USER"]
    assert users == ["10001"]
    health = next(words for words in instructions if words[0] == "HEALTHCHECK")
    assert f"http://127.0.0.1:{ApiOptions().port}/healthz" in " ".join(health)


def test_the_broker_lets_nobody_in_without_a_password() -> None:
    lines = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text().splitlines()
    assert "allow_anonymous false" in lines
    assert "password_file /mosquitto/data/passwords" in lines
