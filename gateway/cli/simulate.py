"""``pilot-gateway simulate``: play every instrument of a line over the real protocols, fed by the simulated plant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import click
import orjson

from drivers import DRIVERS
from gateway import logs
from gateway.api.views import address
from gateway.cli.places import relocate
from gateway.cli.process import on_stop_signal, run_loop
from gateway.core.contracts import Simulator
from gateway.core.errors import GatewayError
from gateway.core.model import Link
from gateway.plant import Plant
from gateway.settings import Line, load_line_file

Playing = Sequence[tuple[Link, Simulator]]


@click.command()
@click.argument("line_file", type=click.Path(path_type=Path))
@click.option("--host", help="Address to listen on. Default: what each link says.")
@click.option(
    "--modbus-port", type=click.IntRange(0, 65_535), help="Port of the first Modbus link, +1 for each further; 0: any."
)
@click.option(
    "--opcua-port", type=click.IntRange(0, 65_535), help="Port of the first OPC UA link, +1 for each further; 0: any."
)
@click.option("--speed", type=click.FloatRange(0, 10_000, min_open=True), default=1.0, show_default=True,
              help="How much faster than real time the plant runs.")  # fmt: skip
@click.option("--interval-s", type=click.FloatRange(0.01, 60), default=0.2, show_default=True,
              help="How often its values change.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Another number: another plant.")
@click.option("--fault", "faults", multiple=True, metavar="KIND[:DEVICE[:KEY=VALUE]…]",
              help="Let Modbus devices misbehave: silence, late, refuse, garbage, frozen, sentinel.")  # fmt: skip
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def simulate(
    line_file: Path,
    host: str | None,
    modbus_port: int | None,
    opcua_port: int | None,
    speed: float,
    interval_s: float,
    seed: int,
    faults: tuple[str, ...],
    output: str,
) -> None:
    """Play every instrument of LINE_FILE until stopped.

    \b
    Example:
      pilot-gateway simulate config/lines/reactor-skid.yaml --host 127.0.0.1 --modbus-port 5020 --opcua-port 4840
      pilot-gateway simulate config/lines/pl1.yaml --fault sentinel:meter --fault refuse:jacket:register=4:code=2

    Keys of faults: delay_s of late; code (the exception) of refuse; register: only requests that touch it; times: after
    so many requests it is over.

    With --format json each line of the output is an object: first where every link listens, at the end how many
    write requests came (the gateway sends none).
    """  # noqa: D301
    logs.configure("error")
    line = load_line_file(line_file, look=False)
    ports = {"modbus": modbus_port, "opcua": opcua_port}
    if not speed * interval_s <= 86_400:
        raise click.UsageError("--speed times --interval-s must stay below a day")
    links = placed(line.links, host, ports)
    playing = [(link, DRIVERS[link.type].make_simulator(link)) for link in links]
    for text in faults:
        misbehave(playing, text)
    run_loop(_simulate(line, playing, Plant(line.devices, seed), speed, interval_s, output))


def placed(links: Sequence[Link], host: str | None, ports: dict[str, int | None]) -> tuple[Link, ...]:
    """The links at the host, and at the ports counted up per protocol, where these are given."""
    used: dict[str, int] = {}
    moved = []
    for link in links:
        protocol = DRIVERS[link.type].name
        port = ports.get(protocol)
        if port:
            number = used[protocol] = used.get(protocol, -1) + 1
            port += number
        moved.append(relocate(link, host, port) if host is not None or port is not None else link)
    return tuple(moved)


def misbehave(playing: Playing, text: str) -> None:
    """Put the fault into force that ``text`` describes; raises click.BadParameter with a sentence."""
    kind, _, rest = text.partition(":")
    device, *keys = rest.split(":")
    able = [
        (link, simulator.fault)
        for link, simulator in playing
        if isinstance(simulator, Faulty) and (not device or device in {each.id for each in link.devices})
    ]
    if not able:
        known = [each.id for link, simulator in playing if isinstance(simulator, Faulty) for each in link.devices]
        there = f"there are {', '.join(known)}" if known else "there is none in this line"
        raise click.BadParameter(f"{device or 'that'} is no Modbus device; {there}", param_hint="--fault")
    try:
        how = {key: _number(value) for key, _, value in (each.partition("=") for each in keys)}
        for _, fault in able:
            fault(kind, device, **how)
    except ValueError as error:
        raise click.BadParameter(f"{text}: {error}", param_hint="--fault") from error


@runtime_checkable
class Faulty(Protocol):
    """A simulator whose devices can be made to misbehave."""

    def fault(self, kind: str, device: str = "", **how: Any) -> object:
        """Raises ValueError for a kind or a key that it does not know."""


def _number(text: str) -> float:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError as error:
        raise ValueError(f'"{text}" is no number') from error


async def _simulate(line: Line, playing: Playing, plant: Plant, speed: float, interval_s: float, output: str) -> None:
    stop = asyncio.Event()
    on_stop_signal(stop.set)
    try:
        for link, simulator in playing:
            await _start(link, simulator)
        advance(playing, plant, speed * interval_s)
        _say_ready(line, playing, output)
        await _play(playing, plant, speed, interval_s, stop)
    finally:
        writes = sum(simulator.writes for _, simulator in playing)
        for _, simulator in playing:
            await simulator.close()
    _say_stopped(writes, output)


async def _start(link: Link, simulator: Simulator) -> None:
    try:
        await simulator.start()
    except OSError as error:
        raise GatewayError(
            f"link {link.id} cannot be played at {address(link)}: {error.strerror or error}; choose another port"
        ) from error


async def _play(playing: Playing, plant: Plant, speed: float, interval_s: float, stop: asyncio.Event) -> None:
    """Let the plant run until told to stop; late steps are left out, so that it never races to catch up."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = max(due + interval_s, loop.time())
        try:
            async with asyncio.timeout_at(due):
                await stop.wait()
                return
        except TimeoutError:
            advance(playing, plant, speed * interval_s)


def advance(playing: Playing, plant: Plant, dt_s: float) -> None:
    """Let ``dt_s`` pass in the plant and show it to whoever asks the simulators."""
    values = plant.step(dt_s)
    for link, simulator in playing:
        for device in link.devices:
            try:
                simulator.set(device.id, values[device.id])
            except ValueError as error:
                raise GatewayError(f"{device.path} cannot be simulated: {error}; give it a range that fits") from error


def _say_ready(line: Line, playing: Playing, output: str) -> None:
    where = [
        (link, simulator.port, address(relocate(link, port=simulator.port or None))) for link, simulator in playing
    ]
    if output == "json":
        links = [
            {"link": link.id, "type": link.type, "port": port, "address": place, "devices": len(link.devices)}
            for link, port, place in where
        ]
        _echo_json({"ready": True, "site": line.site, "line": line.id, "links": links})
        return
    click.echo(f"{line.site}/{line.id} is being played; Ctrl-C stops it")
    for link, _, place in where:
        click.echo(f"  {link.id:<16} {place:<40} {', '.join(device.id for device in link.devices)}")


def _say_stopped(writes: int, output: str) -> None:
    if output == "json":
        _echo_json({"stopped": True, "writes": writes})
    else:
        click.echo(f"stopped; {writes} write requests came")


def _echo_json(content: dict[str, Any]) -> None:
    click.echo(orjson.dumps(content).decode())
