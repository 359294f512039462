"""A Modbus link said on the command line, for commands that need no line file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from drivers.modbus.options import LINKS, ModbusLink, ModbusRtu

WHERE = "HOST[:PORT] | /dev/…"
PARITIES = ("none", "even", "odd")
BAUD_RATES = (9600, 19200, 38400, 57600, 115200, 4800, 2400, 1200)
"""The commonest first."""

Command = TypeVar("Command", bound=Callable[..., Any])


def link_options(command: Command) -> Command:
    """The options that say what kind of link it is."""
    for option in (
        click.option("--parity", type=click.Choice(PARITIES), default="none", show_default=True,
                     help="Of a serial port."),
        click.option("--baud-rate", type=click.IntRange(300, 4_000_000), default=9600, show_default=True,
                     help="Of a serial port."),
        click.option("--transport", type=click.Choice(["modbus-tcp", "modbus-rtu-over-tcp", "modbus-udp"]),
                     default="modbus-tcp", show_default=True, help="How HOST speaks."),
    ):  # fmt: skip
        command = option(command)
    return command


def link_at(where: str, transport: str, baud_rate: int, parity: str) -> ModbusLink:
    """The link to a host or a serial port. Raises click.BadParameter."""
    said: dict[str, Any] = {"id": "commissioning", "type": transport, "devices": [{"id": "device"}]}
    match = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]/\s]+)(?::(\d{1,5}))?", where)
    if where.startswith("/") or re.fullmatch(r"COM\d+", where):
        said |= {"type": "modbus-rtu", "port": where, "baud_rate": baud_rate, "parity": parity}
    elif match and int(match[2] or 0) <= 65_535:
        said |= {"host": match[1].strip("[]"), "port": int(match[2] or 502)}
    else:
        raise click.BadParameter(f"{where} is neither HOST[:PORT] nor a serial port nor a line file", param_hint="HOST")
    return LINKS[said["type"]].model_validate(said)


def serial_settings(link: ModbusLink) -> Iterator[ModbusRtu]:
    """The same serial port with every speed and parity, the commonest first. Raises click.UsageError for others."""
    if not isinstance(link, ModbusRtu):
        raise click.UsageError("--scan-serial is for a serial port")
    for baud_rate in BAUD_RATES:
        for parity in PARITIES:
            yield link.model_copy(update={"baud_rate": baud_rate, "parity": parity})
