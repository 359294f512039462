"""``pilot-gateway schema``: what editors complete and check YAML files with."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateway.settings.schema import NAMES
from gateway.settings.schema import schema as schema_of


@click.command()
@click.argument("name", required=False, type=click.Choice(NAMES))
@click.option("--write", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write all of them here.")
def schema(name: str | None, folder: Path | None) -> None:
    """Print the JSON schema of one kind of file, or write all of them into a folder.

    An editor with a YAML language server uses it through the first line of a file:
    # yaml-language-server: $schema=../schema/line.json

    \b
    Example:
      pilot-gateway schema line
      pilot-gateway schema --write config/schema
    """  # noqa: D301
    if (name is None) == (folder is None):
        raise click.UsageError("give a NAME or --write FOLDER")
    if name:
        click.echo(text_of(name), nl=False)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        for each in NAMES:
            (folder / f"{each}.json").write_text(text_of(each), encoding="utf-8")


def text_of(name: str) -> str:
    """The schema as it stands in ``config/schema/<name>.json``."""
    return json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n"
