"""``pilot-gateway dead-letters``: what a sink refused for good, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from gateway.cli.desk import Access, journal_of
from gateway.cli.journal import with_config, with_format
from gateway.core.errors import GatewayError
from gateway.logs import escaped
from gateway.terminal import quality_text, table_of, value_text

_PAGE = 200

with_sink = click.option("--sink", default="", help="Only those of this sink.")
with_all = click.option("--all", "every", is_flag=True, help="All of them, or all of --sink.")


@click.group("dead-letters")
def dead_letters() -> None:
    """What a sink refused for good, with the reason: look at it, send it once more, throw it away.

    While the gateway runs its API is asked; while it is stopped the journal is opened.

    \b
    Example:
      pilot-gateway dead-letters list --sink influxdb
      pilot-gateway dead-letters show 7
      pilot-gateway dead-letters resend --all --sink influxdb
    """  # noqa: D301


@dead_letters.command("list")
@with_config
@with_sink
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@with_format
def list_letters(config: Path, sink: str, limit: int, style: str) -> None:
    """List dead letters, oldest first.

    \b
    Example:
      pilot-gateway dead-letters list --format json
    """  # noqa: D301
    with journal_of(config) as access:
        found = []
        for letter in _all(access, sink):
            found.append(letter)
            if len(found) == limit:
                break
    if style == "json":
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if not found:
        click.echo("There are no dead letters.")
        return
    table = table_of("id>", "sink", "device", "time", "readings>", "refused because")
    for letter in found:
        reason = "on its way again" if letter["again"] else letter["reason"]
        cells = letter["device"] or "damaged", letter["time"] or "–", str(letter["readings"] or "–"), reason
        table.add_row(str(letter["id"]), letter["sink"], *(Text(escaped(cell)) for cell in cells))
    Console(soft_wrap=True).print(table)


@dead_letters.command()
@with_config
@click.argument("number", type=int)
@with_format
def show(config: Path, number: int, style: str) -> None:
    """Show one of them with its readings.

    \b
    Example:
      pilot-gateway dead-letters show 7
    """  # noqa: D301
    with journal_of(config) as access:
        letter = access.letter(number)
    if style == "json":
        click.echo(json.dumps(letter, indent=2, ensure_ascii=False))
        return
    click.echo(f"{letter['sink']} refused it at {letter['refused']}: {escaped(letter['reason'])}")
    if letter["damaged"]:
        click.echo("It is damaged and can only be dropped.")
        return
    click.echo(f"{letter['device']}, boot {letter['boot']}, seq {letter['seq']}")
    table = table_of("tag", "value>", "unit", "quality", "time")
    for row in letter["rows"]:
        table.add_row(row["tag"], value_text(row["value"]), row["unit"], quality_text(row["quality"]), row["time"])
    Console(soft_wrap=True).print(table)


@dead_letters.command()
@with_config
@click.argument("numbers", type=int, nargs=-1)
@with_sink
@with_all
def resend(config: Path, numbers: tuple[int, ...], sink: str, every: bool) -> None:
    """Give dead letters back to their sink, exactly as they were; they are pending again.

    \b
    Example:
      pilot-gateway dead-letters resend 7 9
      pilot-gateway dead-letters resend --all --sink influxdb
    """  # noqa: D301
    with journal_of(config) as access:
        count = _each(access, access.resend, "sending again", numbers, sink, every)
    click.echo(f"{count} dead letters are on their way again.")


@dead_letters.command()
@with_config
@click.argument("numbers", type=int, nargs=-1)
@with_sink
@with_all
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(config: Path, numbers: tuple[int, ...], sink: str, every: bool, yes: bool) -> None:
    """Throw dead letters away for ever; they count as dropped.

    \b
    Example:
      pilot-gateway dead-letters drop 7
      pilot-gateway dead-letters drop --all --yes
    """  # noqa: D301
    if every and not yes:
        click.confirm("Throw all of them away for ever?", abort=True)
    with journal_of(config) as access:
        count = _each(access, access.drop, "dropping", numbers, sink, every)
    click.echo(f"{count} dead letters were dropped.")


def _each(
    access: Access, act: Callable[[int], None], what: str, numbers: tuple[int, ...], sink: str, every: bool
) -> int:
    """Do it with each; those that it cannot be done with are told at the end."""
    if every == bool(numbers):
        raise click.UsageError("name the letters by their number, or say --all")
    chosen = [letter["id"] for letter in _all(access, sink) if not letter["again"]] if every else list(numbers)
    refused: list[str] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for number in progress.track(chosen, description=what):
            try:
                act(number)
            except GatewayError as error:
                refused.append(str(error))
    if refused and (not every or len(refused) == len(chosen)):
        raise GatewayError("; ".join(refused[:5]))
    for sentence in refused[:5]:
        click.echo(f"warning: {sentence}", err=True)
    return len(chosen) - len(refused)


def _all(access: Access, sink: str) -> Iterator[dict[str, Any]]:
    after = 0
    while page := access.letters(after, sink, _PAGE):
        yield from page
        after = page[-1]["id"]
