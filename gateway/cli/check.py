"""``pilot-gateway check``: every mistake of some files, or what each link will ask of its instruments."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from drivers import DRIVERS
from gateway.core.contracts import PlanRow
from gateway.core.errors import ConfigError, Mistake
from gateway.core.model import Link
from gateway.settings import Line, load
from gateway.settings.advice import advice, line_advice
from gateway.settings.files import read
from gateway.settings.lines import check_template
from gateway.settings.load import load_line
from gateway.settings.templates import template_of
from gateway.settings.translate import Mistakes
from gateway.settings.tree import Node

BUSY = 0.8  # share of the time of a bus from which on its devices will not find the time to answer


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def check(ctx: click.Context, paths: tuple[Path, ...], style: str) -> None:
    """Check gateway.yaml, line files, templates or folders of them, without touching any instrument.

    Prints every mistake as FILE:LINE: KEY: what is wrong (exit 78), or, when there is none, the requests that
    each link will make (exit 0).

    \b
    Example:
      pilot-gateway check config/
      pilot-gateway check config/lines/reactor-skid.yaml --format json
    """  # noqa: D301
    result = examine(paths)
    if style == "json":
        click.echo(json.dumps(as_json(result), indent=2, ensure_ascii=False))
    elif result.mistakes:
        raise ConfigError(result.mistakes)
    else:
        show(result)
    if result.mistakes:
        ctx.exit(ConfigError.exit_code)


# ---------------------------------------------------------------------------------------------------- examining


@dataclass(slots=True)
class Result:
    """What the files say."""

    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    templates: list[str] = field(default_factory=list)  # of those checked by themselves: their names


def examine(paths: Sequence[Path]) -> Result:
    """Check every path; what was seen through one of them is not seen again through the next."""
    result = Result()
    for path in paths:
        for file in _files(path):
            try:
                _examine(file, result)
            except ConfigError as error:
                result.mistakes = list(dict.fromkeys([*result.mistakes, *error.mistakes]))
    return result


def _files(path: Path) -> Iterator[Path]:
    """A folder stands for its gateway.yaml and its templates, or else for every YAML file below it."""
    if not path.is_dir():
        yield path
        return
    gateway = path / "gateway.yaml"
    files = (
        [gateway, *sorted((path / "templates").glob("*.yaml"))] if gateway.is_file() else sorted(path.rglob("*.yaml"))
    )
    if not files:
        raise ConfigError([Mistake(str(path), 0, "", "no YAML file is in this folder")])
    yield from files


def _examine(path: Path, result: Result) -> None:
    """Tell by its keys what kind of file it is, and check it as that."""
    mistakes = Mistakes()
    tree = read(path, mistakes)
    if tree is None:
        raise ConfigError(mistakes.in_order())
    if "protocol" in tree.map:
        _examine_template(tree, mistakes, result)
    elif "line" in tree.map or "links" in tree.map:
        if all(other.file != tree.file for other in result.lines):
            line = load_line(tree, mistakes)
            result.lines.append(line)
            result.warnings += line_advice(line)
    elif "gateway" in tree.map or path.name == "gateway.yaml":
        settings = load(path, os.environ)
        result.lines += settings.lines
        result.warnings += advice(settings)
    else:
        mistakes.add(
            tree, "", "neither gateway.yaml (key gateway) nor a line file (key line) nor a template (key protocol)"
        )
        raise ConfigError(mistakes.in_order())


def _examine_template(tree: Node, mistakes: Mistakes, result: Result) -> None:
    template = template_of(tree, mistakes)
    if template:
        check_template(template, mistakes)
    if mistakes.found:
        raise ConfigError(mistakes.in_order())
    result.templates.append(Path(tree.file).stem)


# ------------------------------------------------------------------------------------------------------ the plan


@dataclass(frozen=True, slots=True)
class Total:
    """What a link does all in all."""

    requests_per_s: float
    readings_per_s: float
    busy: float  # share of the time that its bus is taken; 0 where its speed is not known


def total(rows: Sequence[PlanRow]) -> Total:
    """The sum over the requests of a link.

    >>> total([PlanRow("meter", 2.0, "FC4 0x0000, 24 registers", 12, 0.5)])
    Total(requests_per_s=0.5, readings_per_s=6.0, busy=0.25)
    """
    return Total(
        requests_per_s=sum(1 / row.period_s for row in rows),
        readings_per_s=sum(row.tags / row.period_s for row in rows),
        busy=sum(row.seconds / row.period_s for row in rows),
    )


def _plan(link: Link) -> Sequence[PlanRow]:
    return DRIVERS[link.type].plan_of(link)


def as_json(result: Result) -> dict[str, Any]:
    """For programs."""
    links = [
        {
            "site": line.site,
            "line": line.id,
            "link": link.id,
            "type": link.type,
            "requests": [asdict(row) for row in rows],
            **asdict(total(rows)),
        }
        for line in ([] if result.mistakes else result.lines)
        for link in line.links
        for rows in [_plan(link)]
    ]
    return {
        "ok": not result.mistakes,
        "mistakes": [asdict(mistake) for mistake in result.mistakes],
        "warnings": [*result.warnings, *crowded(result)],
        "links": links,
        "templates": result.templates,
    }


def show(result: Result) -> None:
    """For people: one table per link, then the sums; warnings go to standard error."""
    console = Console()
    for line in result.lines:
        for link in line.links:
            console.print(_table(line, link, _plan(link)))
    devices = [device for line in result.lines for device in line.devices]
    tags = sum(len(device.tags) for device in devices)
    links = sum(len(line.links) for line in result.lines)
    parts = [f"{len(result.lines)} lines, {links} links, {len(devices)} devices, {tags} tags"] if result.lines else []
    parts += [f"{len(result.templates)} templates: {', '.join(result.templates)}"] if result.templates else []
    console.print("No mistakes. " + "; ".join(parts) + ".", soft_wrap=True)
    for warning in [*result.warnings, *crowded(result)]:
        click.echo(f"warning: {warning}", err=True)


def crowded(result: Result) -> Iterator[str]:
    """A sentence for each link whose requests do not fit into their periods."""
    for line in result.lines:
        for link in line.links:
            busy = total(_plan(link)).busy
            if busy > BUSY:
                yield (
                    f"{line.file}: link {link.id}: its requests take {busy:.0%} of the time of the bus, without the "
                    "time that the devices need to answer: read less often, read less, or raise the baud rate"
                )


def _table(line: Line, link: Link, rows: Sequence[PlanRow]) -> Table:
    sums = total(rows)
    busy = f", bus {sums.busy:.0%} busy" if sums.busy else ""
    table = Table(
        title=f"{line.site}/{line.id} · link {link.id} ({link.type})",
        title_justify="left",
        caption=f"{sums.requests_per_s:g} requests/s, {sums.readings_per_s:g} readings/s at most{busy}",
        caption_justify="left",
    )
    groups: dict[tuple[str, float], list[PlanRow]] = {}
    for row in rows:
        groups.setdefault((row.device, row.period_s), []).append(row)
    cells = [
        (device, f"{period_s:g} s", str(len(asked)), str(sum(row.tags for row in asked)))
        for (device, period_s), asked in groups.items()
    ]
    for name, column in zip(HEADER, zip(HEADER, *cells, strict=True), strict=True):
        # widths are given because rich would measure each cell twice, which takes a second for a thousand devices
        table.add_column(name, justify="left" if name == "device" else "right", width=max(map(len, column)))
    table.add_column("asks for", overflow="fold")
    for row_cells, asked in zip(cells, groups.values(), strict=True):
        requests = "\n".join(row.request for row in asked)
        table.add_row(*map(Text, (*row_cells, requests)))  # Text: a [ in a node id is no markup
    return table


HEADER = ("device", "every", "requests", "tags")
