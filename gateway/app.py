"""Wires the way of a value together, starts it and stops it.

::

    link task ──Scan──> intake ──Batch──> journal ──┬─ cursor "mqtt" ─────> publish task ──> broker
    (one each)          normalise, board            └─ cursor "influxdb" ─> publish task ──> database
                                 │
                                 └──> board ──> API, live lanes

Start: journal, sinks, API, then links; absent hardware, brokers and databases never hold it up. Stop: links first, so
that nothing new comes, then what is in the journal gets a moment to leave, then sinks, API and journal. What could not
leave is delivered after the next start.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from drivers import DRIVERS
from gateway import __version__
from gateway.acquire import LinkTask
from gateway.api import make_api, serve_api
from gateway.board import LiveBoard
from gateway.core.backoff import Backoff
from gateway.core.clock import Clock, SystemClock
from gateway.core.contracts import Cursor, Journal
from gateway.core.errors import GatewayError
from gateway.core.model import Device, Scan
from gateway.health import Health, LinkHealth, SinkHealth, State
from gateway.journal.sqlite import SqliteJournal
from gateway.normalise import Normaliser
from gateway.publish import drain, publish
from gateway.settings import Settings
from gateway.settings.advice import plaintext_of
from gateway.sinks import SINKS, Identity

log = logging.getLogger("gateway.app")

FLUSH_S = 1.0  # at a stop: what was read last gets so long to reach the disk …
DRAIN_S = 1.0  # … and what is in the journal to leave
MOST_WAIT_S = 8.0  # a broker or database that comes back is noticed within 10 s


class App:
    """One running gateway."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.links = tuple(link for line in settings.lines for link in line.links)
        self.health = Health(settings.gateway, secrets.token_hex(4), __version__, self.clock.time_ns())
        self.board = LiveBoard(settings.devices)
        journal = settings.journal
        self.journal: Journal = SqliteJournal(
            journal.directory, self.clock, journal.max_bytes, history_s=journal.history_s
        )
        self._normalisers = {device.path: Normaliser(device, self.health.boot) for device in settings.devices}
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Ask ``run`` to come to an end."""
        self._stop.set()

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Run until ``stop``; raises JournalError where the journal cannot be opened. ``ready``: all is started."""
        await self.journal.open()
        try:
            self.journal.retain(tuple(self.settings.sinks))
            cursors = {name: self.journal.cursor(name) for name in self.settings.sinks}
            async with asyncio.TaskGroup() as tasks:
                delivering = [
                    tasks.create_task(self._publish(*each), name=f"sink {each[0]}") for each in cursors.items()
                ]
                delivering.append(tasks.create_task(self._serve_api(), name="api"))
                acquiring = [tasks.create_task(task.run(), name=name) for name, task in self._link_tasks()]
                if ready:
                    ready()
                await self._stop.wait()
                await _end(acquiring)
                await self._settle(tuple(cursors.values()))
                await _end(delivering)
        finally:
            await self.journal.close()

    # ----------------------------------------------------------------------------------------- on the way of a value

    def _intake(self, scan: Scan) -> None:
        """What happens with everything an instrument says."""
        normaliser = self._normalisers[scan.device.path]
        batch = normaliser(scan, *self.board.run(scan.device))
        self.health.filtered += normaliser.filtered
        normaliser.filtered = 0
        if batch is not None:
            self.journal.append(batch)
            self.board.put(scan.device, batch)

    # ------------------------------------------------------------------------------------------------------- parts

    def _link_tasks(self) -> Iterator[tuple[str, LinkTask]]:
        for link in self.links:
            health = self.health.links[link.id] = LinkHealth(link.id, link.type)
            driver = DRIVERS[link.type].make_driver(link, self.clock)
            yield f"link {link.id}", LinkTask(link, driver, self._intake, self._set_state, health, self.clock)

    def _set_state(self, device: Device, state: State, error: str) -> None:
        self.board.set_state(device, state, error, self.clock.time_ns())

    async def _publish(self, name: str, cursor: Cursor) -> None:
        options = self.settings.sinks[name]
        health = self.health.sinks[name] = SinkHealth(name, options.type)
        identity = Identity(self.health.gateway, self.health.boot)
        sink = SINKS[options.type].make(name, options, identity, self.board, self.clock)
        await publish(sink, cursor, health, self.clock, Backoff(most_s=MOST_WAIT_S))

    async def _serve_api(self) -> None:
        """Serve for ever. A port that somebody else has stops nobody's polling: say so and try again."""
        options = self.settings.api
        token = _token(options.token.get_secret_value() if options.token else None, options.token_file)
        api = make_api(
            self.board,
            self.health,
            self.journal,
            token=token,
            links=self.links,
            plaintext=plaintext_of(self.links, self.settings.sinks),
            clock=self.clock,
        )
        backoff, told = Backoff(most_s=30.0), False
        while True:
            try:
                await serve_api(api, options.host, options.port)
            except GatewayError as error:
                if not told:
                    log.error("%s; everything else goes on", error)
                    told = True
                await self.clock.sleep_until(self.clock.monotonic_ns() + int(backoff.next_s() * 1e9))

    async def _settle(self, cursors: Sequence[Cursor]) -> None:
        """At the end: let what was read reach the disk, and what is on the disk leave."""
        try:
            async with asyncio.timeout(FLUSH_S):
                await self.journal.flush()
        except TimeoutError:
            log.warning("the disk is slow: what was read last may not be kept")
        online = [c for name, c in zip(self.settings.sinks, cursors, strict=True) if self._is_online(name)]
        if not await drain(online, self.clock, DRAIN_S):
            log.info("the rest of the journal is delivered after the next start")

    def _is_online(self, sink: str) -> bool:
        return sink in self.health.sinks and self.health.sinks[sink].state is State.ONLINE


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their clean end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _token(token: str | None, file: str | None) -> str | None:
    return Path(file).read_text().strip() if file else token
