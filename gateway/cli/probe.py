"""``pilot-gateway probe``: one Modbus point read in every way that people get wrong, the plausible ones first.

``drivers/modbus/commissioning.py`` asks, ``drivers/modbus/probe.py`` judges; here is what to ask for, and the table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.text import Text

from drivers.modbus.commissioning import Present, ask_around, conversation, scan_units
from drivers.modbus.notation import BASES, Base, parse_register
from drivers.modbus.options import COUNTERS, Address, ModbusDevice, ModbusLink, ModbusRtu, ModbusTag, Type
from drivers.modbus.probe import NOT_PROBED, Answers, Factor, Judged, Point, Way, judge, keys, point_of, spans
from gateway.cli.modbus_link import WHERE, link_at, link_options, serial_settings
from gateway.cli.process import run_loop
from gateway.core.errors import Unavailable
from gateway.core.model import Device, Kind, Link, Tag
from gateway.settings import load_line_file
from gateway.settings.flow import flow
from gateway.terminal import table_of, value_text

SHOWN, DOUBTFUL = 12, 3  # rows of the table at most, and of those not plausible; the rest is only counted
SCAN_TIMEOUT_S = 0.4  # an instrument on a bus answers within 0.1 s; a late converter is given more by itself


@click.command()
@click.argument("where", metavar=f"{WHERE} | LINE_FILE")
@click.option("--unit", type=click.IntRange(0, 255), default=1, show_default=True, help="Unit id of the device.")
@click.option("--register", "register", help="Address as you know it: 70, 0x46, 30071.")
@click.option(
    "--base", type=click.Choice(BASES), help="How --register counts. Default: from 0; 30071 and 40001 as 4xxxx."
)
@click.option("--function", type=click.IntRange(1, 4), help="Function code you believe in; its sibling is tried too.")
@click.option("--type", "kind", type=click.Choice([each.value for each in Type]), help="Type, where you know it.")
@click.option("--length", type=click.IntRange(1, 64), help="Registers of a string.")
@click.option("--expect", help="What the display of the instrument says: 230.4 (within 1 %) or LOW..HIGH.")
@click.option("--device", help="With LINE_FILE: the device.")
@click.option("--tag", help="With LINE_FILE: the tag.")
@click.option("--polls", type=click.IntRange(1, 20), default=3, show_default=True, help="How often to read.")
@click.option(
    "--scan-units", "units", is_flag=False, flag_value="1-247", help="Ask who is there: 1-247, or a part of it."
)
@click.option("--scan-serial", is_flag=True, help="With --scan-units on a serial port: try every speed and parity.")
@link_options
@click.option("--timeout", "timeout_s", type=click.FloatRange(0.02, 60), help="Longest wait for an answer, in seconds.")
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def probe(where: str, units: str | None, scan_serial: bool, output: str, polls: int, **said: Any) -> None:
    """Read one point one address lower and higher, with both function codes, all orders and the likely types.

    HOST is a device or a converter, /dev/… a serial port; LINE_FILE with --device and --tag takes what it says.

    \b
    Example:
      pilot-gateway probe 192.168.1.20 --unit 1 --register 30001 --type float32 --expect 225..235
      pilot-gateway probe config/lines/pl1.yaml --device meter --tag voltage_l1
      pilot-gateway probe 192.168.1.20 --scan-units 1-32
      pilot-gateway probe /dev/serial/by-id/usb-… --scan-units 1-10 --scan-serial

    It only reads. Exit codes: 0 something plausible was found, 1 nothing was, 2 wrong use, 78 the file is wrong.
    """  # noqa: D301
    link, device = _place(where, said)
    if said["timeout_s"] or units is not None:
        link = link.model_copy(update={"timeout_s": said["timeout_s"] or SCAN_TIMEOUT_S})
    if units is not None:
        links = serial_settings(link) if scan_serial else [link]
        sys.exit(run_loop(_scan(links, _unit_range(units), output)))
    if scan_serial:
        raise click.UsageError("--scan-serial goes with --scan-units")
    task = _task_of_tag(device, said) if device else _task_of_words(said)
    judged, answers = run_loop(_probe(link, task, polls))
    if output == "json":
        click.echo(orjson.dumps(as_json(task, judged, answers), option=orjson.OPT_INDENT_2).decode())
    else:
        _show(task, judged, answers)
    sys.exit(0 if judged and judged[0].plausible else 1)


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be found out."""

    unit: int
    point: Point
    note: str = ""  # how the address was understood
    tag: Mapping[str, Any] = field(default_factory=lambda: {"name": "value"})  # keys of the tag besides its address


async def _probe(link: ModbusLink, task: Task, polls: int) -> tuple[list[Judged], Answers]:
    async with conversation(link) as talk:
        heard = await ask_around(talk, task.unit, task.point, polls)
    return judge(task.point, heard.answers, heard.awkward), heard.answers


# -------------------------------------------------------------------------------------------------- what to ask for


def _place(where: str, said: Mapping[str, Any]) -> tuple[ModbusLink, Device | None]:
    """The link to talk over; and the device, where it is one of a line file."""
    if Path(where).suffix not in (".yaml", ".yml") and not Path(where).is_file():
        for name in ("device", "tag"):
            if said[name]:
                raise click.UsageError(f"--{name} goes with a line file; {where} is taken for a host")
        return link_at(where, said["transport"], said["baud_rate"], said["parity"]), None
    link, device = _of_line(Path(where), said["device"])
    if not isinstance(link.options, ModbusLink):
        raise click.BadParameter(f"link {link.id} ({link.type}) is none that can be probed", param_hint="--device")
    return link.options, device


def _of_line(file: Path, name: str | None) -> tuple[Link, Device]:
    line = load_line_file(file)
    there = [
        (link, device) for link in line.links for device in link.devices if isinstance(device.options, ModbusDevice)
    ]
    for link, device in there:
        if device.id == name:
            return link, device
    known = ", ".join(device.id for _, device in there)
    missing = f"there is no Modbus device {name} in {file}" if name else "say which device"
    raise click.BadParameter(f"{missing}; there are {known}", param_hint="--device")


def _task_of_tag(device: Device, said: Mapping[str, Any]) -> Task:
    tag = next((tag for tag in device.tags if tag.name == said["tag"]), None)
    if tag is None:
        known = ", ".join(tag.name for tag in device.tags)
        missing = f"{device.id} has no tag {said['tag']}" if said["tag"] else "say which tag"
        raise click.BadParameter(f"{missing}; there are {known}", param_hint="--tag")
    address, options = tag.address, device.options
    if not isinstance(address, Address) or not isinstance(options, ModbusDevice):
        raise TypeError(f"{device.path}/{tag.name} is no Modbus tag")
    kind = Type.UINT16 if address.type in NOT_PROBED and address.function in (3, 4) else address.type
    length = address.words if kind is Type.STRING else None
    at = address.scale_at
    factor = Factor(at.register, at.type, address.exponent) if at else None
    way = Way(address.function, address.register, kind, address.byte_order, address.word_order, length, factor)
    expected = _expected(said["expect"])
    if not expected and tag.low is not None and tag.high is not None:
        expected = tag.low, tag.high
    keys_of_tag = _keys_of(tag, address, options)
    return Task(options.address, point_of(way, True, expected, tag.scale, tag.offset), tag=keys_of_tag)


def _keys_of(tag: Tag, address: Address, device: ModbusDevice) -> dict[str, Any]:
    """Everything of a tag but where it is."""
    given: dict[str, Any] = {"name": tag.name}
    if address.type is Type.BIT and address.function in (3, 4):
        given |= {"type": Type.BIT.value, "bit": address.bit}
    if tag.unit != "1":
        given["unit"] = tag.unit
    if tag.scale != 1:
        given["scale"] = tag.scale
    if tag.offset:
        given["offset"] = tag.offset
    if tag.low is not None and (tag.low, tag.high) != (0, tag.wrap):  # which a wrap says by itself
        given["range"] = [tag.low, tag.high]
    if tag.deadband:
        given["deadband"] = tag.deadband
    if tag.wrap and address.type not in COUNTERS:
        given["wrap"] = tag.wrap
    if tag.period_ns != round(device.period_s * 1e9):
        given["period_s"] = tag.period_ns / 1e9
    if address.invalid:
        given["invalid"] = list(address.invalid)
    if address.alone:
        given["alone"] = True
    for key, labels in (("enum", tag.enum), ("bits", tag.bits)):
        if labels:
            given[key] = dict(labels)
    if tag.kind is not _usual_kind(given, address, device):
        given["kind"] = tag.kind.value
    if tag.names:
        given["names"] = dict(tag.names)
    if tag.description:
        given["description"] = tag.description
    return given


def _usual_kind(given: Mapping[str, Any], address: Address, device: ModbusDevice) -> Kind:
    """What kind of value it is where nothing is said about that."""
    said: dict[str, Any] = {"register": address.register, "function": address.function, **given}
    if address.function in (3, 4):
        said.setdefault("type", address.type.value)
    if address.type is Type.STRING:
        said["length"] = address.words
    if address.scale_at:
        said["scale_from"] = {"register": address.scale_at.register}
    return ModbusTag.model_validate(said).value_kind(device)


def _task_of_words(said: Mapping[str, Any]) -> Task:
    if said["register"] is None:
        raise click.UsageError("say --register, or --scan-units to see who is there")
    base: Base | None = said["base"]
    try:
        function, register = parse_register(said["register"], base)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--register") from error
    note = ""
    if function is not None:
        note = f"{said['register']} is address {register} of function {function}"
        note += "" if base else "; --base 0 takes the number as it is"
    kind = said["kind"] and Type(said["kind"])
    if kind is Type.STRING and not said["length"]:
        raise click.UsageError("a string needs --length, in registers")
    length = said["length"] if kind is Type.STRING else None
    way = Way(said["function"] or function or 3, register, kind or Type.FLOAT32, length=length)
    return Task(said["unit"], point_of(way, kind is not None, _expected(said["expect"])), note)


def _expected(text: str | None) -> tuple[float, float] | None:
    """LOW..HIGH, or one number and 1 % of it around.

    >>> _expected("225..235"), _expected("-5..5"), _expected("100")
    ((225.0, 235.0), (-5.0, 5.0), (99.0, 101.0))
    """
    if not text:
        return None
    try:
        low, dots, high = text.partition("..")
        if dots:
            bounds = float(low), float(high)
        else:
            middle, around = float(low), max(0.01 * abs(float(low)), 1e-3)
            bounds = middle - around, middle + around
    except ValueError as error:
        raise click.BadParameter(f"{text} is neither a number nor LOW..HIGH", param_hint="--expect") from error
    if not bounds[0] < bounds[1]:
        raise click.BadParameter(f"{text}: the first number must be the smaller one", param_hint="--expect")
    return bounds


def _unit_range(text: str) -> Sequence[int]:
    """``1-32``, ``7`` or ``1-3,9``.

    >>> _unit_range("1-3,9")
    [1, 2, 3, 9]
    """
    units: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        if not (low.isdigit() and (high or low).isdigit() and int(low) <= int(high or low) <= 255):
            raise click.BadParameter(f"{text}: allowed: 1-247, 7 or 1-3,9", param_hint="--scan-units")
        units += range(int(low), int(high or low) + 1)
    return list(dict.fromkeys(units))


# ------------------------------------------------------------------------------------------------------- who is there


async def _scan(links: Iterable[ModbusLink], units: Sequence[int], output: str) -> int:
    """Show the units as they are found, under the first settings that bring any; the exit code."""
    found: list[Present] = []
    where = settings = ""
    failed: Unavailable | None = None
    for link in links:
        try:
            async with conversation(link) as talk:
                where, settings = talk.where, _settings(link)
                async for present in scan_units(talk, units):
                    found.append(present)
                    if output == "table":
                        click.echo(f"unit {present.unit:>3}  {present.how}{settings}")
        except Unavailable as error:
            failed = error  # a port that does not know this speed or parity may know the next
        if found:
            break
    if failed and not where:
        raise failed
    if output == "json":
        rows = [{"unit": each.unit, "answer": each.how, "settings": settings.strip(", ")} for each in found]
        click.echo(orjson.dumps(rows).decode())
    else:
        click.echo(f"{len(found)} of {len(units)} unit ids at {where} answered")
    return 0 if found else 1


def _settings(link: ModbusLink) -> str:
    return f", {link.baud_rate} baud, parity {link.parity}" if isinstance(link, ModbusRtu) else ""


# --------------------------------------------------------------------------------------------------------- showing


def as_json(task: Task, judged: Sequence[Judged], answers: Answers) -> dict[str, Any]:
    """For programs."""
    return {
        "unit": task.unit,
        "note": task.note,
        "readings": [
            {
                **keys(each.way),
                "order": each.way.order,
                "values": each.values,
                "score": each.score,
                "plausible": each.plausible,
                "reasons": each.reasons,
                "yaml": yaml_line(task, each.way),
            }
            for each in judged
        ],
        "refused": _refused(task, answers),
    }


def yaml_line(task: Task, way: Way) -> str:
    """The tag as it stands in a line file."""
    head = {"name": task.tag["name"], **keys(way, task.point.way)}
    return f"- {flow({**head, **task.tag})}"


def _show(task: Task, judged: Sequence[Judged], answers: Answers) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = 160
    if task.note:
        click.echo(task.note)
    table = table_of("", "score>", "FC", "register>", "type", "order", "reads>", "why")
    plausible = sum(each.plausible for each in judged)
    shown = judged[: min(SHOWN, plausible + DOUBTFUL)]
    for each in shown:
        same = f"; same as {', '.join(_named(other, each.way) for other in each.same)}" if each.same else ""
        table.add_row(
            Text("✔" if each.plausible else "", style="green"),
            str(each.score),
            str(each.way.function),
            str(each.way.register),
            each.way.type.value,
            each.way.order,
            value_text(each.values[-1]),
            Text(", ".join(each.reasons) + same),
            style="" if each.plausible else "dim",
        )
    console.print(table)
    if len(judged) > len(shown):
        click.echo(f"and {len(judged) - len(shown)} that are less likely")
    for sentence in _refused(task, answers):
        click.echo(sentence)
    _say_what_to_paste(task, judged)


def _named(other: Way, best: Way) -> str:
    if other.order != best.order:
        return other.order
    return f"scale factor in {other.factor.register}" if other.factor else other.type.value


def _say_what_to_paste(task: Task, judged: Sequence[Judged]) -> None:
    good = [each for each in judged if each.plausible]
    if not good:
        click.echo(
            "\nnothing looks right: is the point running, is it another register? --expect what the display says"
        )
        return
    click.echo(f"\n{yaml_line(task, good[0].way)}")
    if all(value == 0 for each in good for value in each.values):
        click.echo("nothing but zeros, which are alike everywhere: ask again while the point runs")
    rivals = [each for each in good[1:] if each.score >= good[0].score - 5]
    if rivals and task.point.expected is None:
        click.echo(f"{len(rivals)} more come close; --expect with what the display of the instrument says decides")


def _refused(task: Task, answers: Answers) -> list[str]:
    """What did not come, by function."""
    sentences = []
    for function in task.point.functions:
        wanted = [span for span in spans(task.point) if span[0] == function]
        codes = sorted({code for span in wanted if isinstance(code := answers.get(span), int)})
        if all(span not in answers for span in wanted):
            sentences.append(f"function {function}: no usable answer")
        elif codes and all(isinstance(answers.get(span), int) for span in wanted):
            sentences.append(f"function {function}: refused with exception {', '.join(map(str, codes))}")
    return sentences
