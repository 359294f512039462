"""``pilot-gateway tags``: the tags of a device to and from a spreadsheet.

``gateway/settings/spreadsheet.py`` knows the cells, ``gateway/settings/line_edit.py`` the line file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click

from drivers import DRIVERS
from drivers.modbus.notation import BASES, Base
from gateway.core.errors import ConfigError, GatewayError, Mistake
from gateway.core.model import Device, Link
from gateway.core.options import DeviceOptions, TagOptions
from gateway.settings import load_line_file
from gateway.settings.line_edit import InForce, device_node, difference, in_force, own_tags, with_tags
from gateway.settings.load import load_line, templates_beside
from gateway.settings.spreadsheet import Tag, in_chinese, read_rows, rows_of, tags_of, write_rows
from gateway.settings.templates import Templates
from gateway.settings.translate import Mistakes
from gateway.settings.tree import parse


@click.group()
def tags() -> None:
    """Tags of a device as a spreadsheet: export, edit, import.

    \b
    Example:
      pilot-gateway tags export config/lines/pl1.yaml --device meter -o meter.xlsx
      pilot-gateway tags import meter.xlsx config/lines/pl1.yaml --device meter --dry-run
    """  # noqa: D301


@tags.command()
@click.argument("line_file", type=click.Path(path_type=Path))
@click.option("--device", help="The device; may be left out where there is one only.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True,
              help="tags.csv or tags.xlsx (which needs the extra spreadsheet).")  # fmt: skip
@click.option("--base", type=click.Choice(BASES), default="0", show_default=True, help="How Modbus addresses count.")
@click.option("--language", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of the header.")
def export(line_file: Path, device: str | None, output: Path, base: Base, language: str) -> None:
    """Write the tags of a device, those of its template included, one row each.

    \b
    Example:
      pilot-gateway tags export config/lines/pl1.yaml --device meter -o meter.csv --base 4xxxx --language zh
    """  # noqa: D301
    link, found = _device(line_file, device)
    now = _in_force(line_file, line_file.read_text(encoding="utf-8-sig"), found.id)
    rows = rows_of(now.tags, _tag_model(link), base, _function(found))
    if language == "zh":
        rows[0] = in_chinese(rows[0])
    write_rows(output, rows)
    click.echo(f"{len(now.tags)} tags of {found.id} are in {output}")


@tags.command("import")
@click.argument("sheet", type=click.Path(path_type=Path))
@click.argument("line_file", type=click.Path(path_type=Path))
@click.option("--device", help="The device; may be left out where there is one only.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
def import_(sheet: Path, line_file: Path, device: str | None, dry_run: bool) -> None:
    """Replace the tags of a device in LINE_FILE by the rows of SHEET (CSV or xlsx).

    The columns are those of export, in any order, with headers in English or Chinese; only name and register (or
    node) are needed. Column address_base says how an address counts: 0 as on the wire, 1, or 4xxxx.
    Every mistake of every row is told as FILE:ROW: COLUMN: what is wrong. The rest of the line file stays as it is;
    the file as it was is kept beside it as .bak.

    \b
    Example:
      pilot-gateway tags import meter.csv config/lines/pl1.yaml --device meter --dry-run

    Exit codes: 0 done, or nothing to do, 1 it cannot be done, 78 the sheet or the line file is wrong.
    """  # noqa: D301
    link, found = _device(line_file, device)
    with line_file.open(encoding="utf-8", newline="") as file:
        text = file.read()
    now = _in_force(line_file, text, found.id)
    wanted, how = _wanted(sheet, link, found)
    if how:
        click.echo(how)
    changes = difference(now.tags, wanted)
    for sentence in changes.lines():
        click.echo(sentence)
    if not changes:
        click.echo("nothing changes")
        return
    left_out = [tag["name"] for tag in changes.removed if tag["name"] in now.inherited]
    if left_out:
        names = ", ".join(left_out)
        raise GatewayError(
            f"the sheet leaves out tags that {found.id} has from its template {found.template}; keep their rows, or "
            f"write without: [{names}] in the line file first"
        )
    new = with_tags(text, found.id, own_tags(wanted, now.inherited))
    _check(line_file, new, found.id, wanted)
    click.echo(f"{len(changes.added)} added, {len(changes.changed)} changed, {len(changes.removed)} removed")
    if dry_run:
        click.echo(f"{line_file} is as it was (dry run)")
        return
    backup = _replace(line_file, new)
    click.echo(f"{line_file} is written; as it was: {backup}")


def _device(line_file: Path, name: str | None) -> tuple[Link, Device]:
    line = load_line_file(line_file, look=False)
    there = [(link, device) for link in line.links for device in link.devices]
    wanted = [pair for pair in there if name in (None, pair[1].id)]
    if len(wanted) == 1:
        return wanted[0]
    missing = f"there is no device {name} in {line_file}" if name else "say which device"
    known = ", ".join(device.id for _, device in there)
    raise click.BadParameter(f"{missing}; there are {known}", param_hint="--device")


def _tag_model(link: Link) -> type[TagOptions]:
    model: type[TagOptions] = get_args(DRIVERS[link.type].template.model_fields["tags"].annotation)[0]
    return model


def _function(device: Device) -> int:
    function: int = getattr(device.options, "function", 3)
    return function


def _in_force(line_file: Path, text: str, device: str) -> InForce:
    tree, _ = parse(text.encode(), str(line_file))
    node = device_node(tree, device) if tree else None
    if node is None:
        raise GatewayError(f"{device} does not stand in {line_file} by itself")
    return in_force(node, Templates(templates_beside(line_file), Mistakes()))


def _wanted(sheet: Path, link: Link, device: Device) -> tuple[Sequence[Tag], str]:
    """The tags of the sheet, and how its addresses were understood."""
    options = device.options
    if not isinstance(options, DeviceOptions):
        raise TypeError(f"{device.path} has no options")
    mistakes = Mistakes()
    found = tags_of(read_rows(sheet), str(sheet), _tag_model(link), options, mistakes)
    if mistakes.found:
        raise ConfigError(mistakes.in_order())
    if not found.tags:
        raise ConfigError([Mistake(str(sheet), 0, "", "holds no tag")])
    return found.tags, found.base


def _check(line_file: Path, text: str, device: str, wanted: Sequence[Tag]) -> None:
    """The new text must be right as a whole, and say what the sheet says. Raises ConfigError or GatewayError."""
    tree, trouble = parse(text.encode(), str(line_file))
    if tree is None or trouble:
        raise ConfigError(trouble)
    load_line(tree, Mistakes(), look=False)
    left = difference(_in_force(line_file, text, device).tags, wanted)
    if left:
        raise GatewayError(f"{device}: this cannot be said on top of its template: {'; '.join(left.lines())}")


def _replace(file: Path, text: str) -> Path:
    """Write the file in one step, its permissions kept; the name of the copy of what it was."""
    file = file.resolve()  # what a link leads to, not the link
    backup = file.with_name(f"{file.name}.bak")
    try:
        shutil.copy2(file, backup)
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            shutil.copymode(file, name)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise GatewayError(f"{file} cannot be written: {error.strerror or error}") from error
    return backup
