"""``pilot-gateway journal``: what the journal holds, whether it is sound, and its readings as a file."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import Progress

from gateway.api.desk import ACCOUNT, FOREVER_NS
from gateway.cli.desk import Access, journal_of
from gateway.terminal import table_of

DAMAGED = 3  # exit code of check
_COLUMNS = (
    *("time", "site", "line", "device", "tag", "value", "unit", "quality", "status"),
    *("run", "phase", "boot", "seq"),
)

with_config = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("config/gateway.yaml"),
    show_default=True,
    help="gateway.yaml, or the folder that holds it.",
)
with_format = click.option(
    "--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True
)


@click.group()
def journal() -> None:
    """What the journal holds, whether it is sound, and its readings as a file.

    While the gateway runs its API is asked; while it is stopped the journal is opened.

    \b
    Example:
      pilot-gateway journal stat --config /etc/pilot-gateway/gateway.yaml
      pilot-gateway journal check
      pilot-gateway journal export --since 2026-03-01T06:00 --device 'wuxi/pl1/*' --output shift.csv
    """  # noqa: D301


@journal.command()
@with_config
@with_format
def stat(config: Path, style: str) -> None:
    """Sizes, and per sink what became of every reading.

    \b
    Example:
      pilot-gateway journal stat --format json
    """  # noqa: D301
    with journal_of(config) as access:
        found = access.stat()
    if style == "json":
        click.echo(json.dumps(found, indent=2))
        return
    console = Console()
    used = f"{found['bytes'] / 1e6:,.1f} of {found['max_bytes'] / 1e6:,.0f} MB"
    console.print(f"{used}, oldest record {found['oldest'] or '–'}", highlight=False, soft_wrap=True)
    lost = found["lost"]["readings"]
    reasons = ", ".join(f"{reason} {size['readings']}" for reason, size in found["lost_by"].items())
    console.print(
        f"accepted {found['accepted']['readings']} readings, not accepted {lost}{f' ({reasons})' if lost else ''}",
        highlight=False,
        soft_wrap=True,
    )
    table = table_of("sink", *(f"{what}>" for what in ACCOUNT), "dropped because")
    for name, account in found["sinks"].items():
        why = ", ".join(f"{reason} {size['readings']}" for reason, size in account["dropped_by"].items())
        table.add_row(name, *(str(account[what]["readings"]) for what in ACCOUNT), why)
    console.print(table)
    if found["gaps"]:
        gaps = table_of("missing at", "readings>", "because", "after", "before")
        for gap in found["gaps"]:
            around = (_milliseconds_text(gap[edge]) for edge in ("after", "before"))
            gaps.add_row(gap["sink"] or "every sink", str(gap["readings"]), gap["reason"], *around)
        console.print(gaps)
    if found["error"]:
        click.echo(f"warning: {found['error']}", err=True)


@journal.command()
@with_config
@with_format
@click.pass_context
def check(ctx: click.Context, config: Path, style: str) -> None:
    """Read every record, check its CRC, and say what is damaged.

    Changes nothing; what is damaged is stepped over and counted anyway. Exit codes: 0 all is sound, 3 some is damaged.

    \b
    Example:
      pilot-gateway journal check --format json
    """  # noqa: D301
    total = {"records": 0, "readings": 0}
    damaged: list[dict[str, int]] = []
    with journal_of(config) as access:
        for piece in _pieces(access, "checking", 0, 0, readings=False):
            damaged += piece["damaged"]
            for what in total:
                total[what] += piece[what]
    if style == "json":
        click.echo(json.dumps({**total, "damaged": damaged, "ok": not damaged}, indent=2))
    else:
        click.echo(f"{total['records']} records with {total['readings']} readings are sound.")
        for each in damaged:
            click.echo(f"damaged: {each['records']} records from record {each['first_record']} on")
    if damaged:
        ctx.exit(DAMAGED)


@journal.command()
@with_config
@click.option("--since", help="From this time on: 2026-03-01T06:00 (UTC), 2026-03-01T06:00+08:00.")
@click.option("--until", help="Up to this time, itself not included.")
@click.option("--device", "devices", multiple=True, help="site/line/device; * stands for anything; may be repeated.")
@click.option("--output", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@click.option("--format", "style", type=click.Choice(["jsonl", "csv"]), help="Default: by the file's name, else jsonl.")
def export(
    config: Path, since: str | None, until: str | None, devices: tuple[str, ...], output: Path | None, style: str | None
) -> None:
    """Write readings as JSON lines or CSV, in the order in which they were accepted.

    The journal keeps what not every sink has, and what is younger than journal.history_s.

    \b
    Example:
      pilot-gateway journal export --since 2026-03-01T06:00+08:00 --output shift.csv
      pilot-gateway journal export --device 'wuxi/pl1/jacket' > jacket.jsonl
    """  # noqa: D301
    style = style or ("csv" if output is not None and output.suffix.lower() == ".csv" else "jsonl")
    since_ns = _time_ns("--since", since, -FOREVER_NS)
    until_ns = _time_ns("--until", until, FOREVER_NS)
    with journal_of(config) as access:
        if output is None:
            count = _write(access, sys.stdout, style, since_ns, until_ns, devices)
        else:
            try:
                with output.open("w", newline="", encoding="utf-8") as file:
                    count = _write(access, file, style, since_ns, until_ns, devices)
            except OSError as error:
                raise click.ClickException(f"{output} cannot be written: {error.strerror}") from error
    click.echo(f"{count} readings", err=True)


def _write(access: Access, file: TextIO, style: str, since_ns: int, until_ns: int, devices: tuple[str, ...]) -> int:
    put = _csv(file) if style == "csv" else _lines(file)
    count = 0
    for piece in _pieces(access, "exporting", since_ns, until_ns, readings=True):
        for row in piece["rows"]:
            if not devices or any(fnmatchcase("/".join((row["site"], row["line"], row["device"])), d) for d in devices):
                put(row)
                count += 1
        if piece["damaged"]:
            click.echo(f"warning: {sum(each['records'] for each in piece['damaged'])} records are damaged", err=True)
    return count


def _lines(file: TextIO) -> Callable[[dict[str, Any]], object]:
    return lambda row: file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _csv(file: TextIO) -> Callable[[dict[str, Any]], object]:
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    return lambda row: writer.writerow({**row, "value": _cell(row["value"])})


def _cell(value: object) -> object:
    """A value in a spreadsheet; text of a device must not become a formula there.

    >>> _cell(True), _cell(1.5), _cell("=1+1"), _cell(None)
    ('true', 1.5, "'=1+1", None)
    """
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def _pieces(access: Access, what: str, since_ns: int, until_ns: int, *, readings: bool) -> Iterator[dict[str, Any]]:
    """The whole journal, piece by piece, with a bar on standard error for whoever watches."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        record, end = 0, None
        while end is None or record < end:
            piece = access.records(record, since_ns, until_ns, readings=readings)
            end = piece["end"] if end is None else end  # what comes in meanwhile is not waited for
            record = piece["next"]
            progress.update(task, total=end, completed=record)
            yield piece


def _time_ns(option: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f'"{text}" is no time; write 2026-03-01T06:00', param_hint=option) from None
    since_1970 = (time if time.tzinfo else time.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
    return since_1970 // timedelta(microseconds=1) * 1000  # exact, which a float would not be


def _milliseconds_text(time_ms: int | None) -> str:
    return "not known" if time_ms is None else f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
