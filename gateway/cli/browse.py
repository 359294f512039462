"""``pilot-gateway browse``: the variables of an OPC UA server, as a table or as tags for a line file."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console

from drivers.opcua.browse import KINDS, Found
from drivers.opcua.browse import browse as walk
from drivers.opcua.options import OpcUa
from drivers.opcua.quiet import hush
from drivers.opcua.session import open_session
from gateway import logs
from gateway.cli.process import run_loop
from gateway.core.errors import GatewayError
from gateway.logs import escaped
from gateway.settings import load_line_file
from gateway.terminal import table_of

VALUE_LENGTH = 40  # characters of a value in the table


@click.command()
@click.argument("where", metavar="LINE_FILE|ENDPOINT")
@click.option("--link", "link_id", help="Which OPC UA link of the line file; default: the first.")
@click.option("--filter", "text", default="", help="Only variables whose path or address holds this text.")
@click.option("--depth", type=click.IntRange(1, 50), default=10, show_default=True, help="Steps below Objects.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write tags: .csv or .yaml.")
def browse(where: str, link_id: str | None, text: str, depth: int, output: Path | None) -> None:
    """Show the variables of a server: path, address, type, value, unit.

    An ENDPOINT is opened without protection and as nobody; for anything else name a LINE_FILE, whose link says how.

    \b
    Example:
      pilot-gateway browse opc.tcp://192.168.1.20:4840 --filter Reactor -o tags.csv
    """  # noqa: D301
    if output and output.suffix not in (".csv", ".yaml"):
        raise click.BadParameter("the file ends with .csv or .yaml", param_hint="-o")
    logs.configure("error")
    hush()
    found = run_loop(_browse(_options(where, link_id), depth))
    wanted = [each for each in found if text.lower() in f"{'/'.join(each.path)} {each.node}".lower()]
    if not wanted:
        raise GatewayError(f"none of {len(found)} variables has {text!r} in its path" if found else "no variables")
    if output:
        output.write_text(as_csv(wanted) if output.suffix == ".csv" else as_yaml(wanted), encoding="utf-8")
        others = len(wanted) - len(tags_of(wanted))
        rest = (
            f"; {others} variables left out, which no tag can take (arrays, structures, empty values)" if others else ""
        )
        click.echo(f"{output}: {len(wanted) - others} tags{rest}")
    else:
        _show(wanted)


def _options(where: str, link_id: str | None) -> OpcUa:
    if where.startswith("opc.tcp://"):
        link = {"id": "browse", "type": "opcua", "endpoint": where, "security": {"policy": "None"}}
        try:
            return OpcUa.model_validate({**link, "devices": [{"id": "any"}]})
        except ValidationError as e:
            raise GatewayError(f"{where}: an endpoint is opc.tcp://host:port/path") from e
    for each in load_line_file(Path(where)).links:
        if isinstance(each.options, OpcUa) and link_id in (None, each.id):
            return each.options
    raise GatewayError(f"{where} has no OPC UA link{f' {link_id}' if link_id else ''}")


async def _browse(options: OpcUa, depth: int) -> list[Found]:
    def progress(count: int) -> None:
        click.echo(f"\r{count} variables", err=True, nl=False)

    session = await open_session(options.id, options)
    try:
        return await walk(session, depth, progress)
    finally:
        click.echo("", err=True)
        await session.close()


def tags_of(found: list[Found]) -> list[dict[str, str]]:
    """Tags with names that no other has; what no tag can take is left out."""
    tags: dict[str, dict[str, str]] = {}
    numbers: dict[str, int] = {}  # the last one of each name: ten thousand nodes may be called Value
    for each in found:
        kind = KINDS.get(each.type)
        if kind is None:
            continue
        stem = re.sub(r"[^a-z0-9]+", "_", each.path[-1].lower()).strip("_")[:56] or "tag"
        name, number = stem, numbers.get(stem, 1)
        while name in tags:
            number += 1
            name = f"{stem}_{number}"
        numbers[stem] = number
        tags[name] = {"name": name, "node": each.node, "kind": kind.value, "unit": each.unit}
    return list(tags.values())


def as_csv(found: list[Found]) -> str:
    """What ``tags import`` reads."""
    out = io.StringIO()
    writer = csv.DictWriter(out, ("name", "node", "kind", "unit"), lineterminator="\n")
    writer.writeheader()
    writer.writerows(tags_of(found))
    return out.getvalue()


def as_yaml(found: list[Found]) -> str:
    """Tags to paste into a device of a line file."""
    rows = [{key: value for key, value in tag.items() if value} for tag in tags_of(found)]
    return "tags:\n" + "".join(f"  - {json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _show(found: list[Found]) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = 200
    table = table_of("path", "node", "type", "value", "unit")
    for each in found:
        value = escaped(str(each.value))[:VALUE_LENGTH]
        table.add_row(*map(escaped, ("/".join(each.path), each.node, each.type)), value, each.unit)
    console.print(table)
