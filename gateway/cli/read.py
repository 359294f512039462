"""``pilot-gateway read``: every tag of a line once, to the screen.

Uses the drivers and the normaliser as ``serve`` does; keeps nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click
import orjson
from rich.console import Console, ConsoleRenderable

from drivers import DRIVERS
from gateway import logs
from gateway.api.answers import reading
from gateway.board import LiveBoard
from gateway.cli.process import run_loop
from gateway.core.clock import Clock, SystemClock
from gateway.core.contracts import Driver
from gateway.core.errors import DriverError, NoAnswer
from gateway.core.model import Device, Group, Link, Scan, Tag, Value
from gateway.core.quality import quality
from gateway.logs import escaped
from gateway.normalise import Normaliser
from gateway.settings import Line, load_line_file
from gateway.terminal import names_text, quality_text, table_of, value_text


@click.command()
@click.argument("line_file", type=click.Path(path_type=Path))
@click.option("--device", help="Only this device.")
@click.option("--tag", help="Only tags of this name.")
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--timeout", "timeout_s", type=click.FloatRange(0.1, 600), default=10.0, show_default=True,
              help="Longest time for one link, in seconds.")  # fmt: skip
def read(line_file: Path, device: str | None, tag: str | None, output: str, timeout_s: float) -> None:
    """Read every tag of LINE_FILE once and show it.

    \b
    Example:
      pilot-gateway read config/lines/reactor-skid.yaml --device meter --tag active_power

    Exit codes: 0 something was read, 1 nothing was, 78 the file is wrong.
    """  # noqa: D301
    logs.configure("error")
    line = load_line_file(line_file)
    wanted = Wanted(line, device, tag)
    with _silent("gateway", "drivers"):  # what is wrong is said below, once
        result = run_loop(read_line(line, wanted, timeout_s, SystemClock()))
    if output == "json":
        click.echo(orjson.dumps(as_json(line, wanted, result), option=orjson.OPT_INDENT_2).decode())
    else:
        _show(wanted, result)
    sys.exit(0 if result.found else 1)


@contextmanager
def _silent(*loggers: str) -> Iterator[None]:
    """Nothing below critical is logged meanwhile."""
    levels = [(logger, logger.level) for logger in map(logging.getLogger, loggers)]
    for logger, _ in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)


class Wanted:
    """Which devices and tags to show."""

    def __init__(self, line: Line, device: str | None, tag: str | None) -> None:
        self.devices = tuple(each for each in line.devices if device in (None, each.id))
        if not self.devices:
            known = ", ".join(each.id for each in line.devices)
            raise click.BadParameter(f"{line.id} has no device {device}; it has {known}", param_hint="--device")
        self._tag = tag
        if not any(self.tags(each) for each in self.devices):
            known = ", ".join(dict.fromkeys(one.name for each in self.devices for one in each.tags))
            raise click.BadParameter(f"there is no tag {tag}; there are {known}", param_hint="--tag")

    def tags(self, device: Device) -> tuple[tuple[int, Tag], ...]:
        """(index, tag) of the device's tags that are wanted."""
        return tuple((i, tag) for i, tag in enumerate(device.tags) if self._tag in (None, tag.name))

    def groups(self, groups: Sequence[Group]) -> tuple[Group, ...]:
        """The groups that hold something wanted; they are read as a whole, as the gateway reads them."""
        return tuple(
            group
            for group in groups
            if group.device.enabled
            and any(group.device.path == device.path for device in self.devices)
            and any(i in group.index for i, _ in self.tags(group.device))
        )


@dataclass
class Result:
    """What came of it."""

    board: LiveBoard
    errors: dict[str, str] = field(default_factory=dict)  # device id → sentence

    def rows(self, wanted: Wanted) -> list[tuple[Device, Tag, Value, int, int]]:
        """(device, tag, value, status, time_ns) of what there is to show, in the order of the file."""
        rows: list[tuple[Device, Tag, Value, int, int]] = []
        known = {entry.device.path: entry.device for entry in self.board.states()}
        for device in (known[each.path] for each in wanted.devices):
            newest = list(self.board.newest(device).rows)
            rows += [(device, tag, *newest[i]) for i, tag in wanted.tags(device)]
        return rows

    @property
    def found(self) -> bool:
        """Whether any value was read."""
        return any(
            value is not None for entry in self.board.states() for value in self.board.newest(entry.device).values
        )


async def read_line(line: Line, wanted: Wanted, timeout_s: float, clock: Clock) -> Result:
    """Read what is wanted from all links of the line at once."""
    result = Result(LiveBoard(line.devices))
    links = [link for link in line.links if any(device in wanted.devices for device in link.devices)]
    # all before the first connect: importing a protocol's library takes a second in which nobody is answered
    drivers = [DRIVERS[link.type].make_driver(link, clock) for link in links]
    await asyncio.gather(
        *(_read_link(link, driver, wanted, timeout_s, result) for link, driver in zip(links, drivers, strict=True))
    )
    return result


async def _read_link(link: Link, driver: Driver, wanted: Wanted, timeout_s: float, result: Result) -> None:
    normalisers = {device.path: Normaliser(device, "00000000") for device in link.devices}

    def take(scan: Scan) -> None:
        batch = normalisers[scan.device.path](scan)
        if batch:
            result.board.put(scan.device, batch)

    try:
        async with asyncio.timeout(timeout_s):
            await driver.connect()
            for device in {group.device.path: group.device for group in driver.polled + driver.pushed}.values():
                normalisers[device.path] = Normaliser(device, "00000000")
                result.board.learn(device)
            for group in wanted.groups(driver.polled):
                try:
                    take(await driver.read(group))
                except NoAnswer as error:
                    result.errors[group.device.id] = str(error)
            await _listen(driver, wanted.groups(driver.pushed), take)
    except (DriverError, TimeoutError) as error:
        sentence = str(error) or f"not everything came within {timeout_s:g} s"
        for device in link.devices:
            if device in wanted.devices and device.enabled:
                result.errors.setdefault(device.id, sentence)
    finally:
        await driver.close()


async def _listen(driver: Driver, groups: Sequence[Group], take: Callable[[Scan], None]) -> None:
    """Listen until every tag of the groups has been told once. Raises what ``listen`` raises."""
    waiting = {(group.device.path, i) for group in groups for i in group.index}
    complete = asyncio.Event()

    def heard(scan: Scan) -> None:
        take(scan)
        waiting.difference_update((scan.device.path, i) for i in scan.index)
        if not waiting:
            complete.set()

    if not waiting:
        return
    listening = asyncio.create_task(driver.listen(heard), name="listen")
    completing = asyncio.create_task(complete.wait(), name="complete")
    try:
        await asyncio.wait({listening, completing}, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            await listening  # raises what ended it
    finally:
        for task in (listening, completing):
            task.cancel()
        await asyncio.gather(listening, completing, return_exceptions=True)


def as_json(line: Line, wanted: Wanted, result: Result) -> Mapping[str, object]:
    """For programs."""
    return {
        "site": line.site,
        "line": line.id,
        "readings": [
            {"device": device.id, **reading(tag, value, status, time_ns)}
            for device, tag, value, status, time_ns in result.rows(wanted)
        ],
        "errors": [{"device": device, "error": error} for device, error in result.errors.items()],
    }


def _show(wanted: Wanted, result: Result) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = 160
    columns = ["device", "tag", "value>", "unit", "quality", "time (UTC)", "names"]
    names_fit = console.width >= 110
    table = table_of(*(columns if names_fit else columns[:-1]))
    for device, tag, value, status, time_ns in result.rows(wanted):
        row: list[ConsoleRenderable | str] = [
            device.id,
            tag.name,
            value_text(value),
            tag.unit,
            quality_text(quality(status)),
            _time(time_ns),
        ]
        table.add_row(*row, *([names_text(tag.names)] if names_fit else []))
    console.print(table)
    for name, error in result.errors.items():
        click.echo(f"{name}: {escaped(error)}", err=True)


def _time(time_ns: int) -> str:
    """Time of day with milliseconds; empty for never."""
    if not time_ns:
        return ""
    return f"{datetime.fromtimestamp(time_ns // 1_000_000_000, UTC):%H:%M:%S}.{time_ns // 1_000_000 % 1000:03d}"
