"""``pilot-gateway demo``: the main job on simulated parts, in one command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from gateway.cli.places import config_folder


@click.command()
@click.option("--duration", "duration_s", type=click.FloatRange(0, min_open=True), help="End after so many seconds.")
@click.option(
    "--api-port", type=click.IntRange(0, 65_535), default=0, help="Port of the HTTP API. Default: any free one."
)
@click.option("--no-live", is_flag=True, help="Plain lines instead of a live table.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for journal and logs. Default: a temporary one, gone afterwards.")  # fmt: skip
def demo(duration_s: float | None, api_port: int, no_live: bool, data: Path | None) -> None:
    """Simulate a batch reactor skid, read it, publish it, show it.

    Real Modbus TCP, OPC UA and MQTT between real processes, on loopback only. An InfluxDB is written too when the
    environment names one: PILOT_GATEWAY__SINKS__INFLUXDB__URL, …__BUCKET, …__TOKEN.

    \b
    Example:
      pilot-gateway demo --duration 20

    Exit codes: 0 all went well, 1 something essential did not.
    """  # noqa: D301
    from gateway.demo.show import Show  # not before: --help shall not wait for an MQTT library

    console = Console()
    if not console.is_terminal:
        console.width = 160
    with _folder(data) as folder:
        show = Show(
            config_folder(),
            folder,
            duration_s=duration_s,
            api_port=api_port,
            live=console.is_terminal and not no_live,
            console=console,
        )
        failed = show.run()
    for sentence in failed:
        click.echo(sentence, err=True)
    sys.exit(1 if failed else 0)


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is None:
        with TemporaryDirectory(prefix="pilot-gateway-demo-") as folder:
            yield Path(folder)
    else:
        data.mkdir(parents=True, exist_ok=True)
        yield data.absolute()
