"""``simulate`` and ``read``: one plays the reactor skid, the other reads it, over the real protocols."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import cli
from gateway.cli.places import config_folder
from gateway.demo import files
from gateway.settings import load_line_file
from tests.support.processes import Process, gateway_command, run_process, run_to_end

pytestmark = pytest.mark.system

SKID = config_folder() / "lines" / "reactor-skid.yaml"


@asynccontextmanager
async def _skid(folder: Path) -> AsyncIterator[tuple[Process, Path]]:
    """The simulated skid, and a line file that says where it is."""
    command = gateway_command(
        *("simulate", str(SKID), "--host", "127.0.0.1", "--modbus-port", "0", "--opcua-port", "0", "--format", "json")
    )
    async with run_process(*command) as simulator:
        ready: dict[str, Any] = json.loads((await simulator.wait_for('"ready":true')).string)
        addresses = {link["link"]: link["address"] for link in ready["links"]}
        config = files.write_config(config_folder(), folder, addresses, {"host": "127.0.0.1"}, 0)
        yield simulator, config.parent / "lines" / SKID.name


async def test_every_tag_of_the_skid_is_read_and_nothing_written(tmp_path: Path) -> None:
    async with _skid(tmp_path) as (simulator, line_file):
        ended = await run_to_end(*gateway_command("read", str(line_file), "--format", "json", "--timeout", "25"))
        assert ended.code == 0, ended.stderr
        said = json.loads(ended.stdout)
        one = await run_to_end(*gateway_command("read", str(line_file), "--device", "meter", "--tag", "frequency"))
        simulator.send(signal.SIGTERM)
        assert await simulator.wait_ended() == 0
        assert json.loads(simulator.lines[-1]) == {"stopped": True, "writes": 0}
    assert said["errors"] == []
    configured = [(device.id, tag.name) for device in load_line_file(line_file).devices for tag in device.tags]
    assert [(row["device"], row["tag"]) for row in said["readings"]] == configured
    assert {row["quality"] for row in said["readings"]} == {"good"}
    values = {(row["device"], row["tag"]): row["value"] for row in said["readings"]}
    assert 225 < values["meter", "voltage_l1"] < 236
    assert values["plc", "phase_name"] == "heat"
    assert values["plc", "stirrer_running"] is True
    assert one.code == 0
    assert "frequency" in one.stdout
    assert "voltage" not in one.stdout


async def test_instruments_that_are_not_there_are_named_and_the_exit_code_is_1(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, never listening: refused at once, and nobody else's meanwhile
        port = closed.getsockname()[1]
        there = {"skid-bus": "tcp", "heat-bus": "tcp", "plc": "opc.tcp"}
        addresses = {link: f"{scheme}://127.0.0.1:{port}" for link, scheme in there.items()}
        config = files.write_config(config_folder(), tmp_path, addresses, {"host": "127.0.0.1"}, 0)
        line_file = str(config.parent / "lines" / SKID.name)
        ended = await run_to_end(*gateway_command("read", line_file, "--format", "json"))
    assert ended.code == 1
    said = json.loads(ended.stdout)
    assert {error["device"] for error in said["errors"]} == {"meter", "feed-flow", "jacket", "reactor", "plc"}
    assert {row["value"] for row in said["readings"]} == {None}
    assert "Traceback" not in ended.stderr


async def test_an_unknown_tag_is_answered_with_those_there_are() -> None:
    ended = await run_to_end(*gateway_command("read", str(SKID), "--device", "jacket", "--tag", "colour"))
    assert ended.code == 2
    assert "there is no tag colour" in ended.stderr
    assert "working_output" in ended.stderr


async def test_a_taken_port_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = await run_to_end(*gateway_command("simulate", str(SKID), "--modbus-port", port, "--opcua-port", "0"))
    assert ended.code == 1
    assert f"modbus-tcp://127.0.0.1:{port}" in ended.stderr
    assert "choose another port" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_faults_on_demand(tmp_path: Path) -> None:
    """One device says "no value", one register of another is refused, the rest is well."""
    command = gateway_command(
        *("simulate", str(SKID), "--host", "127.0.0.1", "--modbus-port", "0", "--opcua-port", "0", "--format", "json"),
        *("--fault", "sentinel:meter", "--fault", "refuse:jacket:register=4:code=2"),
    )
    async with run_process(*command) as simulator:
        ready: dict[str, Any] = json.loads((await simulator.wait_for('"ready":true')).string)
        addresses = {link["link"]: link["address"] for link in ready["links"]}
        config = files.write_config(config_folder(), tmp_path, addresses, {"host": "127.0.0.1"}, 0)
        line_file = config.parent / "lines" / SKID.name
        ended = await run_to_end(*gateway_command("read", str(line_file), "--format", "json", "--timeout", "25"))
    rows = json.loads(ended.stdout)["readings"]
    bad = {(row["device"], row["tag"]) for row in rows if row["quality"] == "bad"}
    meter = {(row["device"], row["tag"]) for row in rows if row["device"] == "meter"}
    assert bad == meter | {("jacket", "working_output")}


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("explosion:meter", "explosion:meter: explosion is no fault; there are silence, late"),
        ("late:metr", "metr is no Modbus device; there are "),
        ("late:meter:delay=2", "delay is no key of a fault; there are register, code, delay_s, times"),
        ("late:meter:delay_s=two", '"two" is no number'),
    ],
)
def test_a_fault_that_there_is_not(fault: str, sentence: str) -> None:
    result = CliRunner().invoke(cli, ["simulate", str(SKID), "--fault", fault])
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())
