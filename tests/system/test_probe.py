"""The probe against simulated instruments: a line file that is wrong in one thing, the right reading first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drivers import DRIVERS
from drivers.modbus.commissioning import Conversation, ask_around, conversation, scan_units
from drivers.modbus.options import Address, ModbusTcp, Order
from drivers.modbus.probe import Judged, Point, Way, judge, point_of
from gateway.cli import cli
from gateway.cli.modbus_link import link_at
from gateway.core.contracts import Simulator
from gateway.core.errors import Unavailable
from gateway.core.model import Link, Tag
from gateway.settings import load_line_file
from tests.support.hurried import hurried
from tests.support.modbus_scripted import Question, scripted

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "config" / "templates"

DISPLAY: Mapping[str, float] = {
    "voltage_l1": 229.14, "voltage_l2": 231.72, "voltage_l3": 230.45, "current_l1": 12.371, "current_l2": 11.846,
    "current_l3": 12.659, "active_power": 7391.4, "apparent_power": 8466.3, "reactive_power": 4128.9,
    "power_factor": 0.873, "frequency": 50.013, "energy_import": 48213.66, "energy_export": 312.48,
    "energy_total": 48526.14,
}  # fmt: skip
"""What the displays of the instruments say."""


@asynccontextmanager
async def meter(folder: Path, template: str) -> AsyncIterator[tuple[Link, Simulator]]:
    """A simulated meter of that model that says what its display says, and the link to it."""
    file = folder / f"{template}.yaml"
    file.write_text(
        "line: pl1\nsite: s\nlinks:\n  - id: bus\n    type: modbus-tcp\n    host: 127.0.0.1\n    port: 0\n"
        f"    devices: [{{id: meter, template: {template}, address: 7}}]\n"
    )
    (link,) = load_line_file(file, templates=TEMPLATES).links
    simulator = DRIVERS[link.type].make_simulator(link)
    await simulator.start()
    try:
        simulator.set("meter", {tag.name: said(tag) for tag in link.devices[0].tags})
        assert isinstance(link.options, ModbusTcp)
        yield replace(link, options=link.options.model_copy(update={"port": simulator.port})), simulator
    finally:
        await simulator.close()
    assert simulator.writes == 0


def said(tag: Tag) -> float:
    value = DISPLAY[tag.name] / (1000 if tag.unit in ("kW", "kvar", "kV.A") else 1)
    return round(value * 1000) if tag.unit == "W.h" else value


def way_of(tag: Tag) -> Way:
    assert isinstance(tag.address, Address)
    at = tag.address
    return Way(at.function, at.register, at.type, at.byte_order, at.word_order)


async def command(*arguments: str) -> Result:
    """``pilot-gateway …``, in a thread so that the simulator goes on."""
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments)


async def found_by(talk: Conversation, point: Point) -> list[Judged]:
    heard = await ask_around(talk, 7, point, 2)
    return judge(point, heard.answers, heard.awkward)


Wrong = Callable[[Way], Way]

WRONG: Mapping[str, tuple[Wrong, bool]] = {
    "right": (lambda way: way, False),
    "counted from 1": (lambda way: replace(way, register=way.register + 1), False),
    "one too low": (lambda way: replace(way, register=way.register - 1), True),
    "words swapped": (lambda way: replace(way, word_order=Order.LITTLE), False),
    "bytes swapped": (lambda way: replace(way, byte_order=Order.LITTLE), False),
    "little-endian": (lambda way: replace(way, byte_order=Order.LITTLE, word_order=Order.LITTLE), False),
    "other function": (lambda way: replace(way, function=7 - way.function), False),
}
"""What is wrong with the line file, and whether it takes a look at the display to know: one value too early is as
plausible as one too late."""


@pytest.mark.parametrize("template", ["eastron-sdm630", "schneider-iem3000"])
@pytest.mark.parametrize("what", WRONG)
async def test_the_right_reading_of_every_point_comes_first(tmp_path: Path, template: str, what: str) -> None:
    wrong, looked = WRONG[what]
    async with meter(tmp_path, template) as (link, _):
        assert isinstance(link.options, ModbusTcp)
        async with conversation(link.options) as talk:
            found: dict[str, str] = {}
            for tag in link.devices[0].tags:
                right, value = way_of(tag), said(tag)
                written = wrong(right)
                if written.register < 0:
                    continue
                expected = (tag.low, tag.high) if tag.low is not None and tag.high is not None else None
                if looked:
                    expected = (value - 0.002 * abs(value), value + 0.002 * abs(value))
                point = point_of(written, True, expected)
                judged = await found_by(talk, point)
                if not (judged and judged[0].plausible and judged[0].way == right):
                    found[tag.name] = _told(judged)
                elif judged[0].values[-1] != pytest.approx(value):
                    found[tag.name] = f"reads {judged[0].values}"
    assert found == {}


def _told(judged: list[Judged]) -> str:
    return "; ".join(f"{each.score} {each.way} {each.values}" for each in judged[:3])


async def test_without_a_type_or_range_the_right_reading_of_a_float_comes_first(tmp_path: Path) -> None:
    async with meter(tmp_path, "eastron-sdm630") as (link, _):
        assert isinstance(link.options, ModbusTcp)
        async with conversation(link.options) as talk:
            for tag in link.devices[0].tags:
                right = way_of(tag)
                point = point_of(replace(right, function=3), False, None)
                best = (await found_by(talk, point))[0]
                assert best.way == right, tag.name


async def test_only_the_units_that_are_there_are_found(tmp_path: Path) -> None:
    async with meter(tmp_path, "schneider-iem3000") as (link, _):
        assert isinstance(link.options, ModbusTcp)
        async with conversation(link.options) as talk:
            present = [each async for each in scan_units(talk, range(1, 248))]
    assert [(each.unit, each.how) for each in present] == [(7, "answers with exception 2")]


async def test_a_point_that_is_not_there_is_read_in_no_way(tmp_path: Path) -> None:
    async with meter(tmp_path, "schneider-iem3000") as (link, _):
        assert isinstance(link.options, ModbusTcp)
        async with conversation(link.options) as talk:
            point = point_of(Way(3, 40_000, way_of(link.devices[0].tags[0]).type), True, None)
            judged = await found_by(talk, point)
    assert judged == []


async def test_the_command_finds_and_says_what_to_paste(tmp_path: Path) -> None:
    async with meter(tmp_path, "schneider-iem3000") as (_, simulator):
        host = f"127.0.0.1:{simulator.port}"
        asked = ("probe", host, "--unit", "7", "--register", "3028", "--type", "float32", "--expect", "229.1")
        told = await command(*asked, "--format", "json")
        nothing = await command("probe", host, "--unit", "7", "--register", "40001")
        file = tmp_path / "line.yaml"
        file.write_text(
            "line: pl1\nsite: s\nlinks:\n  - id: bus\n    type: modbus-tcp\n    host: 127.0.0.1\n"
            f"    port: {simulator.port}\n"
            "    devices:\n      - {id: m, address: 7, word_order: little, tags: "
            "[{name: volts, register: 3027, type: float32, unit: V, range: [200, 250], names: {zh: 电压}}]}\n"
        )
        of_line = await command("probe", str(file), "--device", "m", "--tag", "volts")
        missing = await command("probe", str(file), "--device", "m", "--tag", "amps")
    assert told.exit_code == 0, told.stderr
    readings: list[dict[str, Any]] = json.loads(told.stdout)["readings"]
    assert readings[0]["plausible"] is True
    assert readings[0]["yaml"] == "- {name: value, register: 3027, function: 3, type: float32}"
    assert readings[0]["values"] == pytest.approx([229.14] * 3)
    assert nothing.exit_code == 1
    assert "40001 is address 0 of function 3" in nothing.stdout
    assert of_line.exit_code == 0, of_line.stderr
    assert (
        "- {name: volts, register: 3027, function: 3, type: float32, word_order: big, unit: V, range: [200, 250], "
        "names: {zh: 电压}}"
    ) in of_line.stdout
    assert missing.exit_code == 2
    assert "volts" in missing.stderr


SCALED = """
line: pl1
site: s
links:
  - id: bus
    type: modbus-tcp
    host: 127.0.0.1
    port: {port}
    devices:
      - id: inverter
        address: 7
        function: {function}
        word_order: {word_order}
        tags:
          - {{name: before, register: {before}, type: int16}}
          - {{name: power, register: {power}, type: int16, scale_from: {{register: {exponent}}}, invalid: [0x8000],
             unit: W, range: [0, 9000]}}
          - {{name: energy, register: {energy}, type: acc32, scale_from: {{register: {factor}, type: uint16,
             meaning: multiplier}}, unit: W.h, range: [1e6, 9e6], deadband: 5, period_s: 60}}
"""
RIGHT = {"function": 3, "word_order": "big", "before": 99, "power": 100, "exponent": 101, "energy": 102, "factor": 104}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"power": 101, "exponent": 102, "energy": 103, "factor": 105},  # counted from 1
        {"power": 101, "energy": 103},  # the values alone
        {"power": 99, "exponent": 100, "energy": 101, "factor": 103},
        {"function": 4},
        {"word_order": "little"},
    ],
    ids=["right", "counted from 1", "values counted from 1", "one too low", "function", "order"],
)
async def test_a_value_whose_factor_stands_in_another_register(tmp_path: Path, wrong: dict[str, Any]) -> None:
    file = tmp_path / "line.yaml"
    file.write_text(SCALED.format(port=0, **RIGHT))
    (link,) = load_line_file(file).links
    simulator = DRIVERS[link.type].make_simulator(link)
    await simulator.start()
    try:
        simulator.set("inverter", {"before": 17, "power": 7391.0, "energy": 0})
        simulator._units[7]._images[3][2 * 104 : 2 * 105] = b"\0\x64"  # type: ignore[attr-defined]
        simulator.set("inverter", {"energy": 4_821_300.0})
        file.write_text(SCALED.format(port=simulator.port, **(RIGHT | wrong)))
        power = await command("probe", str(file), "--device", "inverter", "--tag", "power", "--expect", "7391")
        energy = await command("probe", str(file), "--device", "inverter", "--tag", "energy")
    finally:
        await simulator.close()
    assert power.exit_code == energy.exit_code == 0, power.output + energy.output
    paste = "- {name: power, register: 100, function: 3, type: int16, scale_from: {register: 101}, unit: W, "
    assert paste + "range: [0, 9000], invalid: [32768]}" in power.output
    (line,) = [row for row in energy.output.splitlines() if row.startswith("- {name: energy")]
    order = "word_order: big, " if wrong == {"word_order": "little"} else ""
    assert line == (
        "- {name: energy, register: 102, function: 3, type: acc32, scale_from: {register: 104, type: uint16, "
        f"meaning: multiplier}}, {order}unit: W.h, range: [1000000, 9000000], deadband: 5, period_s: 60}}"
    )


async def test_zeros_are_said_to_say_nothing(tmp_path: Path) -> None:
    file = tmp_path / "line.yaml"
    text = (
        "line: pl1\nsite: s\nlinks:\n  - {{id: bus, type: modbus-tcp, host: 127.0.0.1, port: {port}, devices: "
        "[{{id: d, tags: [{{name: fed, register: 15, type: uint32, unit: kg, wrap: 1000000}}]}}]}}\n"
    )
    file.write_text(text.format(port=0))
    (link,) = load_line_file(file).links
    simulator = DRIVERS[link.type].make_simulator(link)
    await simulator.start()
    try:
        file.write_text(text.format(port=simulator.port))
        empty = await command("probe", str(file), "--device", "d", "--tag", "fed")
        simulator.set("d", {"fed": 123_456})
        full = await command("probe", str(file), "--device", "d", "--tag", "fed")
    finally:
        await simulator.close()
    assert "nothing but zeros" in empty.output
    assert "nothing but zeros" not in full.output
    assert "- {name: fed, register: 15, function: 3, type: uint32, unit: kg, wrap: 1000000}" in full.output


async def test_scanning_shows_who_is_there_and_none_is_exit_code_1(tmp_path: Path) -> None:
    async with meter(tmp_path, "schneider-iem3000") as (_, simulator):
        host = f"127.0.0.1:{simulator.port}"
        nobody = await command("probe", host, "--scan-units", "1-3", "--timeout", "5", "--format", "json")
        found = await command("probe", host, "--scan-units", "5-8", "--timeout", "5")
    assert (nobody.exit_code, json.loads(nobody.stdout)) == (1, [])
    assert found.exit_code == 0
    assert "unit   7  answers with exception 2" in found.stdout
    assert "1 of 4 unit ids" in found.stdout


async def test_a_serial_bus_is_scanned_and_probed(tmp_path: Path) -> None:
    port = tmp_path / "bus"
    file = tmp_path / "line.yaml"
    file.write_text(
        f"line: pl1\nsite: s\nlinks:\n  - {{id: bus, type: modbus-rtu, port: {port}, timeout_s: 1, "
        "devices: [{id: meter, template: eastron-sdm630, address: 3}]}\n"
    )
    (link,) = load_line_file(file, templates=TEMPLATES).links
    simulator = DRIVERS[link.type].make_simulator(link)
    await simulator.start()
    try:
        simulator.set("meter", {tag.name: said(tag) for tag in link.devices[0].tags})
        scanned = await command("probe", str(port), "--scan-units", "2-3", "--scan-serial", "--timeout", "1")
        found = await command("probe", str(port), "--unit", "3", "--register", "30071", "--type", "float32")
    finally:
        await simulator.close()
    assert scanned.exit_code == 0, scanned.output
    assert "unit   3  answers with exception 2, 9600 baud, parity none" in scanned.output
    assert found.exit_code == 0, found.output
    assert "- {name: value, register: 70, function: 4, type: float32}" in found.output
    assert simulator.writes == 0


async def test_a_port_that_is_not_there_is_a_sentence_also_when_every_speed_is_tried(tmp_path: Path) -> None:
    result = await command("probe", str(tmp_path / "none"), "--scan-units", "1", "--scan-serial")
    assert isinstance(result.exception, Unavailable)
    assert "none" in str(result.exception)
    refused = await command("probe", "127.0.0.1", "--scan-units", "1", "--scan-serial")
    assert "is for a serial port" in refused.output


@hurried
async def test_late_answers_of_a_converter_make_the_scan_more_patient(tmp_path: Path) -> None:
    """Unit 1 takes longer than the scan waits; its late answer must hide neither itself nor the next."""
    late: list[Question] = []

    def slow(question: Question) -> tuple[bytes, ...]:
        late.append(question)
        return ()

    def late_word(question: Question) -> tuple[bytes, ...]:
        return (late[0].right,)  # the answer to the one before; this one is still waiting

    async with scripted(slow, late_word) as server:
        link = link_at(f"127.0.0.1:{server.port}", "modbus-tcp", 9600, "none").model_copy(update={"timeout_s": 1.0})
        async with conversation(link) as talk:
            present = [each.unit async for each in scan_units(talk, [1, 2])]
            assert talk.timeout_s == pytest.approx(2.0)
    assert present == [1, 2]
    assert [question.unit for question in server.questions] == [1, 2, 1, 2]
