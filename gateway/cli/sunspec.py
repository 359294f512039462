"""``pilot-gateway sunspec``: ask a SunSpec device what it has, and write a template of it to review.

``drivers/modbus/sunspec.py`` knows the standard, the models are files of the user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from drivers.modbus.commissioning import conversation
from drivers.modbus.options import ModbusLink
from drivers.modbus.sunspec import BASES, Found, Model, Tags, discover, parse_model, tags_of, text_of
from gateway.cli.check import examine
from gateway.cli.modbus_link import WHERE, link_at, link_options
from gateway.cli.process import run_loop
from gateway.core.errors import ConfigError, GatewayError, Mistake
from gateway.logs import escaped
from gateway.settings.flow import flow
from gateway.terminal import table_of

COMMON = 1  # the model that every device begins with: who made it


@click.command()
@click.argument("where", metavar=WHERE)
@click.option("--unit", type=click.IntRange(0, 255), default=1, show_default=True, help="Unit id of the device.")
@click.option(
    "--models",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("config/sunspec"),
    show_default=True,
    help="Folder of model definitions, model_<id>.json as SunSpec publishes them.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the template here.")
@click.option("--force", is_flag=True, help="Also over a file that is there.")
@link_options
def sunspec(where: str, unit: int, folder: Path, output: Path | None, force: bool, **said: Any) -> None:
    """Look for the marker "SunS", walk the models of the device, and make a template of their points.

    The definitions of models are public (github.com/sunspec/models, folder json). A model that is not in the folder is
    named and left out; put its file there and ask again.

    \b
    Example:
      pilot-gateway sunspec 192.168.1.40 --unit 126 --models sunspec/json -o config/templates/inverter.yaml

    It only reads. Exit codes: 0 done, 1 no SunSpec device, or none of its models known, 78 a model file is wrong.
    """  # noqa: D301
    if output and output.exists() and not force:
        raise GatewayError(f"{output} is there already; --force writes over it")
    if not folder.is_dir():
        raise GatewayError(f"there is no folder {folder}: say --models, a folder of model_<id>.json files")
    link = link_at(where, **said)
    found = run_loop(_discover(link, unit))
    if found is None:
        raise GatewayError(f"unit {unit} at {where} has no SunSpec marker at {', '.join(map(str, BASES))}")
    models = load_models(folder, {block.model for block in found.blocks})
    tags = tags_of(found.blocks, models)
    _show(found, models)
    if not tags.tags:
        raise GatewayError(f"no model of the device is in {folder}")
    text = template_text(found, models, tags)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise GatewayError(f"{output} cannot be written: {error.strerror or error}") from error
    if mistakes := examine([output]).mistakes:
        raise ConfigError(mistakes)
    click.echo(
        f"{output}: {len(tags.tags)} tags, {len(tags.absent)} points that the device does not have; look it over"
    )


async def _discover(link: ModbusLink, unit: int) -> Found | None:
    async with conversation(link) as talk:

        async def ask(start: int, count: int) -> bytes | int:
            return await talk.ask(unit, (3, start, count))

        return await discover(ask)


def load_models(folder: Path, wanted: set[int]) -> Mapping[int, Model]:
    """Those of the wanted models that are in the folder. Raises ConfigError for a file that is no model."""
    models: dict[int, Model] = {}
    mistakes: list[Mistake] = []
    for number in sorted(wanted):
        file = folder / f"model_{number}.json"
        if not file.is_file():
            continue
        try:
            model = parse_model(json.loads(file.read_bytes()))
            if model.id != number:
                raise ValueError(f"is model {model.id}")
            models[number] = model
        except (OSError, ValueError) as error:
            mistakes.append(Mistake(str(file), 0, "", str(error)))
    if mistakes:
        raise ConfigError(mistakes)
    return models


def template_text(found: Found, models: Mapping[int, Model], tags: Tags) -> str:
    """The template, with what a person should look at in comments."""
    ids = [block.model for block in found.blocks]
    unknown = [str(number) for number in ids if number not in models]
    about = {
        "protocol": "modbus",
        "manufacturer": _plate(found, models, "Mn") or "unknown",
        "model": _plate(found, models, "Md") or "unknown",
        "source": f"SunSpec models {', '.join(map(str, ids))}, as the device declared them at {found.base}",
        "verified": "none",
        "revision": 1,
        "function": 3,
        "limits": {"max_registers": 120},
    }
    lines = ["# yaml-language-server: $schema=../schema/template-modbus.json"]
    lines += ["# Made from what the device says about itself: look it over, throw out what nobody needs, give ranges."]
    lines += [f"# Models without a definition, left out: {', '.join(unknown)}."] if unknown else []
    lines += _wrapped("# Points that this device does not have: ", tags.absent) if tags.absent else []
    lines += [f"{key}: {flow(value)}" for key, value in about.items()]
    lines += ["", "tags:", *(f"  - {flow(tag)}" for tag in tags.tags)]
    return "\n".join(lines) + "\n"


def _plate(found: Found, models: Mapping[int, Model], point: str) -> str:
    """What the type plate says; printable characters only."""
    for block in found.blocks:
        if block.model == COMMON and COMMON in models:
            return "".join(filter(str.isprintable, text_of(block, models[COMMON], point)))
    return ""


def _wrapped(head: str, words: Sequence[str]) -> list[str]:
    lines = [head]
    for word in words:
        if len(lines[-1]) + len(word) > 110:
            lines.append("#   ")
        lines[-1] += f"{word} "
    return [line.rstrip() for line in lines]


def _show(found: Found, models: Mapping[int, Model]) -> None:
    """The chain, on standard error where the template goes to standard output."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = 120
    table = table_of("model>", "register>", "length>", "what it is")
    for block in found.blocks:
        model = models.get(block.model)
        what = model.label if model else f"no file model_{block.model}.json"
        table.add_row(str(block.model), str(block.register), str(block.length), escaped(what))
    console.print(table)
    if found.note:
        click.echo(found.note, err=True)
