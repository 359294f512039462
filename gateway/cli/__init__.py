"""``pilot-gateway …``: the command. Each subcommand is a module of this folder, imported only when it is called.

Exit codes: 0 done · 1 it did not work, one sentence on standard error · 2 wrong use · 78 wrong configuration, every
mistake on standard error, one per line.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module

import click

from gateway import __version__
from gateway.core.errors import ConfigError, GatewayError


@dataclass(frozen=True, slots=True)
class Entry:
    """A subcommand that is not imported yet."""

    reference: str  # module:command
    help: str  # for the overview, so that it need not be imported


COMMANDS: Mapping[str, Entry] = {
    "serve": Entry("gateway.cli.serve:serve", "Run the gateway."),
    "check": Entry("gateway.cli.check:check", "Check files; show what each link will ask."),
    "read": Entry("gateway.cli.read:read", "Read a line once, to the screen."),
    "probe": Entry("gateway.cli.probe:probe", "Find out how one Modbus point is to be read; who is on a bus."),
    "templates": Entry("gateway.cli.templates:templates", "Maps of known instruments: list, show, check."),
    "sunspec": Entry("gateway.cli.sunspec:sunspec", "Make a template of what a SunSpec device says it has."),
    "tags": Entry("gateway.cli.tags:tags", "Tags of a device to and from a spreadsheet."),
    "journal": Entry("gateway.cli.journal:journal", "What the journal holds: stat, check, export."),
    "dead-letters": Entry("gateway.cli.dead_letters:dead_letters", "What a sink refused: list, show, resend, drop."),
    "browse": Entry("gateway.cli.browse:browse", "The variables of an OPC UA server, as a table or as tags."),
    "certs": Entry("gateway.cli.certs:certs", "Certificates of OPC UA: list, trust, reject, show, renew."),
    "simulate": Entry("gateway.cli.simulate:simulate", "Play the instruments of a line."),
    "demo": Entry("gateway.cli.demo:demo", "A simulated line, read and published."),
    "schema": Entry("gateway.cli.schema:schema", "JSON schemas of the files, for editors."),
}


class Lazy(click.Group):
    """A group whose commands are imported one at a time: ``check`` needs no broker library."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, name = entry.reference.split(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else f"; there are {', '.join(COMMANDS)}"
            raise click.UsageError(f'no command "{args[0]}"{hint}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pilot-gateway")
def cli() -> None:
    """Data acquisition for pilot lines: OPC UA and Modbus to MQTT and InfluxDB, with nothing lost.

    \b
    Example:
      pilot-gateway check config/
      pilot-gateway serve --config config/gateway.yaml
    """  # noqa: D301


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: run a command, turn its errors into sentences and exit codes."""
    try:
        cli.main(args=None if arguments is None else list(arguments), prog_name="pilot-gateway")
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(ConfigError.exit_code)
    except GatewayError as error:
        click.echo(f"pilot-gateway: {error}", err=True)
        sys.exit(1)
