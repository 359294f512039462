"""The technician's walk in ``drivers/modbus/README.md``, executed: from an unknown meter to its values in MQTT."""

from __future__ import annotations

import asyncio
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from drivers import DRIVERS
from drivers.modbus.options import ModbusTcp
from gateway.cli import cli
from gateway.cli.places import relocate
from gateway.settings import load_line_file
from tests.support.mosquitto import mosquitto
from tests.support.processes import ROOT, gateway_command, program, run_process, run_to_end

pytestmark = pytest.mark.system

README = (ROOT / "drivers" / "modbus" / "README.md").read_text(encoding="utf-8")
CONVERTER = "192.168.1.20"
DISPLAY = {"voltage_l1": 229.14, "voltage_l2": 231.72, "voltage_l3": 230.45, "frequency": 50.013}


@dataclass(frozen=True)
class Step:
    """Commands, and what the README says they show."""

    commands: tuple[str, ...]
    shown: tuple[str, ...]


def walk() -> str:
    return README.partition("## From a meter on a converter to values in MQTT")[2].partition("\n## ")[0]


def steps() -> list[Step]:
    pairs = re.findall(r"```sh\n(.*?)```\n```text\n(.*?)```", walk(), re.DOTALL)
    return [Step(tuple(commands.splitlines()), tuple(shown.splitlines())) for commands, shown in pairs]


def files() -> dict[str, str]:
    """Name → content of the files that the README tells to write."""
    return dict(re.findall(r"```yml\n# (\S+)\n(.*?)```", walk(), re.DOTALL))


async def test_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config" / "lines").mkdir(parents=True)
    (tmp_path / "config" / "templates").symlink_to(ROOT / "config" / "templates")
    written = files()
    assert set(written) == {"config/lines/pl1.yaml", "config/gateway.yaml"}
    line_file = tmp_path / "config" / "lines" / "pl1.yaml"
    line_file.write_text(written["config/lines/pl1.yaml"])
    (link,) = load_line_file(line_file, site="wuxi").links
    simulator = DRIVERS[link.type].make_simulator(relocate(link, "127.0.0.1", 0))
    assert isinstance(link.options, ModbusTcp)
    await simulator.start()
    try:
        simulator.set("meter", {tag.name: DISPLAY.get(tag.name, 0.5) for tag in link.devices[0].tags})
        place = f"host: 127.0.0.1\n    port: {simulator.port}"
        line_file.write_text(written["config/lines/pl1.yaml"].replace(f"host: {CONVERTER}", place))
        async with mosquitto(tmp_path) as broker:
            (tmp_path / "config" / "gateway.yaml").write_text(
                written["config/gateway.yaml"]
                .replace("/var/lib/pilot-gateway/journal", str(tmp_path / "journal"))
                .replace("mqtt: {host: 127.0.0.1}", f"mqtt: {{host: 127.0.0.1, port: {broker.port}}}")
                + "api: {port: 0}\n"
            )
            *asking, running = steps()
            assert len(asking) == 4
            for step in asking:
                (command,) = step.commands
                _, *arguments = shlex.split(command.replace(CONVERTER, f"127.0.0.1:{simulator.port}"))
                result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
                assert result.exit_code == 0, f"{command}: {result.output} {result.exception!r}"
                _expect(step, command, result.output)
            serve, listen = (shlex.split(command)[1:] for command in running.commands)
            here = {"PYTHONPATH": str(ROOT)}  # where the program is not installed
            async with run_process(*gateway_command(*serve), cwd=tmp_path, env=here) as gateway:
                await gateway.wait_for("ready")
                heard = await run_to_end(program("mosquitto_sub"), "-p", str(broker.port), "-W", "20", *listen)
                assert heard.stdout, f"nothing came in 20 s; the gateway said: {gateway.output}"
                _expect(running, running.commands[-1], heard.stdout)
    finally:
        await simulator.close()
    assert simulator.writes == 0


def _expect(step: Step, command: str, output: str) -> None:
    """Every line that the README shows is there; how much space is between the words does not matter."""
    said = " ".join(output.split())
    for line in step.shown:
        assert " ".join(line.split()) in said, f"{command} does not say {line!r} but: {output}"
