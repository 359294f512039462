"""``pilot-gateway templates``: which instruments are known, what their maps say, and whether a new one is right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.text import Text

from gateway.cli.check import examine
from gateway.cli.places import config_folder
from gateway.core.errors import ConfigError, GatewayError, Mistake
from gateway.logs import escaped
from gateway.settings.templates import Template, Templates
from gateway.settings.translate import Mistakes
from gateway.terminal import table_of

STYLES = {"hardware": "bold green", "document": "green", "code": "yellow", "none": "red"}
"""How far a map can be trusted."""

folder_option = click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the templates are. Default: config/templates here, else those that came with the program.",
)
format_option = click.option(
    "--format", "output", type=click.Choice(["table", "json"]), default="table", show_default=True
)


@click.group()
def templates() -> None:
    """The maps of known instruments: list them, show one, check a new one.

    \b
    Example:
      pilot-gateway templates list
      pilot-gateway templates show eastron-sdm630
      pilot-gateway templates check config/templates/acme-m1.yaml
    """  # noqa: D301


@templates.command("list")
@folder_option
@format_option
def list_(folder: Path | None, output: str) -> None:
    """Every template: maker, model, protocol, tags, against what it was verified, from where, revision.

    \b
    Example:
      pilot-gateway templates list --format json
    """  # noqa: D301
    found = _all(folder or _default_folder())
    if output == "json":
        click.echo(orjson.dumps([about(each) for each in found], option=orjson.OPT_INDENT_2).decode())
        return
    console = _console()
    table = table_of("template", "manufacturer", "model", "protocol", "tags>", "verified", "rev>", "source")
    table.columns[-1].no_wrap = False
    for each in found:
        options = each.options
        table.add_row(
            each.name,
            _plain(options.manufacturer),
            _plain(options.model),
            each.protocol.name,
            str(len(each.tags)),
            Text(options.verified, style=STYLES[options.verified]),
            str(options.revision),
            _plain(options.source),
        )
    console.print(table)


@templates.command()
@click.argument("name")
@folder_option
@format_option
def show(name: str, folder: Path | None, output: str) -> None:
    """Everything that the template NAME says, that of its family included.

    \b
    Example:
      pilot-gateway templates show eurotherm-3216
    """  # noqa: D301
    where = folder or _default_folder()
    mistakes = Mistakes()
    known = Templates(where, mistakes)
    template = known.get(name)
    if mistakes.found:
        raise ConfigError(mistakes.in_order())
    if template is None:
        raise GatewayError(known.missing(name))
    tags = [tag.plain() for tag in template.tags.values()]
    if output == "json":
        click.echo(orjson.dumps({**about(template), "tags": tags}, option=orjson.OPT_INDENT_2).decode())
        return
    options, console = template.options, _console()
    console.print(Text(f"{options.manufacturer} {options.model}", style="bold"), soft_wrap=True)
    for key, value in about(template).items():
        if key in ("names", "source", "verified", "revision", "extends", "device") and value:
            console.print(Text(f"{key}: {escaped(_said(value))}"), soft_wrap=True)
    columns = list(dict.fromkeys(key for tag in tags for key in tag))
    table = table_of(*columns)
    for tag in tags:
        table.add_row(*(_plain(_said(tag.get(key, ""))) for key in columns))
    console.print(table)


@templates.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Check templates: every mistake as FILE:LINE: KEY: what is wrong (exit 78).

    \b
    Example:
      pilot-gateway templates check config/templates/*.yaml
    """  # noqa: D301
    result = examine(files)
    others = [Mistake(line.file, 0, "", "is a line file; pilot-gateway check checks it") for line in result.lines]
    if result.mistakes or others:
        raise ConfigError([*result.mistakes, *others])
    click.echo(f"No mistakes. {len(result.templates)} templates: {', '.join(result.templates)}.")


def about(template: Template) -> dict[str, Any]:
    """What a template says about itself, and the defaults of its devices."""
    options = template.options
    device = {key: node.plain() for key, node in template.tree.map.items() if key not in ("tags", "names")}
    return {
        "template": template.name,
        "protocol": template.protocol.name,
        "manufacturer": options.manufacturer,
        "model": options.model,
        "names": options.names.model_dump(exclude_defaults=True),
        "source": " ".join(options.source.split()),
        "verified": options.verified,
        "revision": options.revision,
        "extends": options.extends,
        "device": device,
        "tag_count": len(template.tags),
    }


def _all(folder: Path) -> list[Template]:
    """Every template of the folder. Raises ConfigError where one is broken."""
    mistakes = Mistakes()
    known = Templates(folder, mistakes)
    found = [known.get(path.stem) for path in sorted(folder.glob("*.yaml"))]
    if mistakes.found:
        raise ConfigError(mistakes.in_order())
    return [each for each in found if each]


def _default_folder() -> Path:
    here = Path("config/templates")
    return here if here.is_dir() else config_folder() / "templates"


def _said(value: Any) -> str:
    """A value as it would stand in the file, in short."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_said(child)}" for key, child in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_said, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(text: str) -> Text:
    return Text(escaped(" ".join(text.split())))


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = 200
    return console
