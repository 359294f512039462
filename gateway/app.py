"""Wires the way of a value together, starts it and stops it.

::

    link task ──Scan──> intake ──Batch──> journal ──┬─ cursor "mqtt" ─────> publish task ──> broker
    (one each)          normalise, board            └─ cursor "influxdb" ─> publish task ──> database
                                 │
                                 └──> board ──> API, live lanes

Start: journal, sinks, API, then links; absent hardware, brokers and databases never hold it up. Stop: links first, so
that nothing new comes, then what is in the journal gets a moment to leave, then sinks, API and journal. What could not
leave is delivered after the next start.

Reload: the files are read and everything new is made first; what is wrong with them changes nothing. Then only what
differs is ended and started; all other tasks, connections and sequence numbers go on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from drivers import DRIVERS
from gateway import __version__
from gateway.acquire import LinkTask
from gateway.board import LiveBoard
from gateway.changes import Changes, compare
from gateway.clockwatch import watch_clock
from gateway.core.backoff import Backoff
from gateway.core.clock import Clock, SystemClock
from gateway.core.contracts import Driver, Journal, Sink
from gateway.core.errors import ConfigError, GatewayError, Mistake
from gateway.core.model import Device, Link, Scan
from gateway.core.text import speed_up
from gateway.health import Health, LinkHealth, SinkHealth, State
from gateway.journal.sqlite import SqliteJournal
from gateway.normalise import Normaliser
from gateway.publish import drain, publish
from gateway.settings import ApiOptions, Settings, load_apart
from gateway.settings.advice import plaintext_of
from gateway.sinks import SINKS, Identity
from gateway.sinks.worker import Worker
from gateway.supervisor import Supervisor

log = logging.getLogger("gateway.app")

# a stop takes at most 5 s: what the links leave of these times, counted from its begin
FLUSH_UNTIL_S = 1.5  # what was read last gets until then to reach the disk …
DRAIN_UNTIL_S = 2.5  # … and what is in the journal to leave; sinks, API and journal share the rest
LEAST_S = 0.2  # however long the links took
SPEED_UP_NS = 2_000_000_000  # after the start: the first values are on their way
MOST_WAIT_S = 5.0  # a broker or database that comes back has everything within 10 s: jitter, connecting, catching up
TOLD_MISTAKES = 20  # of a configuration that is refused, in the log


class App:
    """One running gateway."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        *,
        read_settings: Callable[[], Settings] | None = None,
        in_force: Callable[[Settings], None] | None = None,
    ) -> None:
        """``read_settings``: where a reload gets the new ones; ``in_force``: told which ones hold after it."""
        self.settings = settings
        self.clock = clock or SystemClock()
        self.health = Health(settings.gateway, secrets.token_hex(4), __version__, self.clock.time_ns())
        self.health.config.loaded_ns = self.health.started_ns
        self.board = LiveBoard(settings.devices)
        journal = settings.journal
        self.journal: Journal = SqliteJournal(
            journal.directory, self.clock, journal.max_bytes, history_s=journal.history_s, when_full=journal.when_full
        )
        self._read_settings = read_settings or (lambda: load_apart(settings.file))
        self._in_force = in_force or (lambda _: None)
        self._normalisers = {device.path: Normaliser(device, self.health.boot) for device in settings.devices}
        self._former: dict[str, Normaliser] = {}  # of devices that are gone, should they come back
        self._asked: asyncio.Queue[asyncio.Future[_Answer] | None] = asyncio.Queue()  # reloads
        self._stop = asyncio.Event()
        self._api_tried = asyncio.Event()  # it listens, or cannot

    @property
    def links(self) -> tuple[Link, ...]:
        """Every link of every line, as configured now."""
        return tuple(link for line in self.settings.lines for link in line.links)

    def stop(self) -> None:
        """Ask ``run`` to come to an end."""
        self._stop.set()

    def ask_reload(self) -> None:
        """Have the configuration read again; the log says what came of it."""
        self._asked.put_nowait(None)

    async def reload(self) -> Mapping[str, Any]:
        """Read the configuration again and follow it: what has changed. Raises ConfigError: the old one stays."""
        request: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait(request)
        answer = await request
        if isinstance(answer, ConfigError):
            raise answer
        return answer.told()

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Run until ``stop``; raises JournalError where the journal cannot be opened. ``ready``: all is started."""
        await self.journal.open()
        try:
            self.journal.retain(tuple(self.settings.sinks))
            parts = self._make(self.settings, [link.id for link in self.links], list(self.settings.sinks))
            async with asyncio.TaskGroup() as group:
                tasks = Supervisor(group)
                self._start_sinks(tasks, parts)
                tasks.start("api", "", self._serve_api())
                tasks.start("clock", "", watch_clock(self.health.clock, self.clock))
                self._start_links(tasks, parts)
                tasks.start("reload", "", self._reload_when_asked(tasks))
                tasks.start("speed", "", self._speed_up())
                await self._api_tried.wait()
                if ready:
                    ready()
                await self._stop.wait()
                await self._end(tasks)
        finally:
            await self.journal.close()

    async def _end(self, tasks: Supervisor) -> None:
        began_s = self.clock.monotonic_ns() / 1e9
        await tasks.end("reload")  # which starts tasks
        await tasks.end("link", "api", "clock", "speed")
        await self._settle(began_s)
        await tasks.end("sink")

    async def _speed_up(self) -> None:
        """What makes steady work cheaper is loaded once the first values are on their way."""
        await self.clock.sleep_until(self.clock.monotonic_ns() + SPEED_UP_NS)
        await asyncio.to_thread(speed_up)

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

    def _learn(self, device: Device) -> None:
        """An instrument has said what the configuration leaves open of it: it goes on as the same device."""
        normaliser = Normaliser(device, self.health.boot)
        normaliser.succeed(self._normalisers[device.path])
        self._normalisers[device.path] = normaliser
        self.board.learn(device)

    # ------------------------------------------------------------------------------------------------------- parts

    def _make(self, settings: Settings, links: list[str], sinks: list[str]) -> _Parts:
        """Drivers and sinks, no I/O yet. What is wrong with a link or a sink shows here, before anything is touched."""
        identity = Identity(self.health.gateway, self.health.boot, settings.journal.directory)
        parts = _Parts()
        for link in (link for line in settings.lines for link in line.links if link.id in links):
            parts.drivers.append((link, DRIVERS[link.type].make_driver(link, self.clock)))
        for name, options in settings.sinks.items():
            if name in sinks:
                parts.sinks[name] = SINKS[options.type].make(name, options, identity, self.board, self.clock)
        return parts

    def _start_links(self, tasks: Supervisor, parts: _Parts) -> None:
        for link, driver in parts.drivers:
            health = self.health.links.get(link.id)
            if health is None or health.type != link.type:
                health = LinkHealth(link.id, link.type)
            health.state, health.error = State.CONNECTING, ""
            self.health.links[link.id] = health
            task = LinkTask(link, driver, self._intake, self._set_state, self._learn, health, self.clock)
            tasks.start("link", link.id, task.run())
        self.health.links = {link.id: self.health.links[link.id] for link in self.links}

    def _start_sinks(self, tasks: Supervisor, parts: _Parts) -> None:
        for name, sink in parts.sinks.items():
            kind = self.settings.sinks[name].type
            health = self.health.sinks.get(name)
            if health is None or health.type != kind:
                health = SinkHealth(name, kind)
            health.state, health.error = State.CONNECTING, ""
            self.health.sinks[name] = health
            backoff = Backoff(most_s=MOST_WAIT_S)
            tasks.start("sink", name, publish(sink, self.journal.cursor(name), health, self.clock, backoff))
        self.health.sinks = {name: self.health.sinks[name] for name in self.settings.sinks}

    def _set_state(self, device: Device, state: State, error: str) -> None:
        self.board.set_state(device, state, error, self.clock.time_ns())

    async def _serve_api(self) -> None:
        """Serve for ever. A port that somebody else has stops nobody's polling: say so and try again."""
        options = self.settings.api
        await asyncio.to_thread(import_module, "gateway.api")  # 0.1 s in which polls go on
        from gateway.api import make_api, serve_api

        backoff, told = Backoff(most_s=30.0), False
        while True:
            try:
                api = make_api(
                    self.board,
                    self.health,
                    self.journal,
                    token=_token(options),
                    links=lambda: self.links,
                    plaintext=lambda: plaintext_of(self.links, self.settings.sinks),
                    reload=self.reload,
                    clock=self.clock,
                )
                await serve_api(api, options.host, options.port, listening=lambda *_: self._api_tried.set())
            except GatewayError as error:
                self._api_tried.set()
                if not told:
                    log.error("%s; everything else goes on", error)
                    told = True
                await self.clock.sleep_until(self.clock.monotonic_ns() + int(backoff.next_s() * 1e9))

    async def _settle(self, began_s: float) -> None:
        """At the end: let what was read reach the disk, and what is on the disk leave."""
        try:
            async with asyncio.timeout(self._left_s(began_s + FLUSH_UNTIL_S)):
                await self.journal.flush()
        except TimeoutError:
            log.warning("the disk is slow: what was read last may not be kept")
            return  # what leaves needs the disk too
        online = [name for name, sink in self.health.sinks.items() if sink.state is State.ONLINE]
        cursors = [self.journal.cursor(name) for name in online]
        if not await drain(cursors, self.clock, self._left_s(began_s + DRAIN_UNTIL_S)):
            log.info("the rest of the journal is delivered after the next start")

    def _left_s(self, until_s: float) -> float:
        return max(LEAST_S, until_s - self.clock.monotonic_ns() / 1e9)

    # ------------------------------------------------------------------------------------------------------ reload

    async def _reload_when_asked(self, tasks: Supervisor) -> None:
        """One reload after the other, for ever."""
        worker = Worker("reload")  # reading 10,000 tags takes seconds
        try:
            while True:
                request = await self._asked.get()
                answer = await self._reload(tasks, worker)
                if request and not request.done():
                    request.set_result(answer)
                if isinstance(answer, Changes) and answer.api:  # last: this answer goes out through it
                    await tasks.end("api")
                    tasks.start("api", "", self._serve_api())
        finally:
            worker.stop()

    async def _reload(self, tasks: Supervisor, worker: Worker) -> _Answer:
        config = self.health.config
        try:
            changes, parts = await worker.call(self._prepare)
        except ConfigError as error:
            config.refused += 1
            config.error = f"{len(error.mistakes)} mistakes, first: {error.mistakes[0]}"
            log.error(
                "the configuration is not followed, the one before stays in force; mistakes: %d", len(error.mistakes)
            )
            for mistake in error.mistakes[:TOLD_MISTAKES]:
                log.error("%s", mistake)
            return error
        await self._follow(tasks, changes, parts)
        config.loaded_ns, config.error, config.needs_restart = self.clock.time_ns(), "", changes.needs_restart
        config.reloads += 1
        log.info("the configuration was read again: %s", changes)
        for sentence in changes.needs_restart:
            log.warning("%s", sentence)
        return changes

    def _prepare(self) -> tuple[Changes, _Parts]:
        """In a thread: have the files read and make what is new. Raises ConfigError; nothing is touched."""
        settings = self._read_settings()
        changes = compare(self.settings, settings)
        try:
            _token(changes.settings.api)
        except GatewayError as error:
            raise ConfigError([Mistake(str(settings.file), 0, "api.token_file", str(error))]) from error
        return changes, self._make(changes.settings, list(changes.links.started), list(changes.sinks.started))

    async def _follow(self, tasks: Supervisor, changes: Changes, parts: _Parts) -> None:
        """End what is gone or different, then start what is new or different."""
        await tasks.end("link", names=changes.links.ended)
        await tasks.end("sink", names=changes.sinks.ended)
        self.settings = changes.settings
        self._in_force(self.settings)
        for path in changes.devices.ended:
            self._former[path] = self._normalisers.pop(path)
        for device in self.settings.devices:
            if device.path in changes.devices.started:
                normaliser = self._normalisers[device.path] = Normaliser(device, self.health.boot)
                if former := self._former.pop(device.path, None):
                    normaliser.succeed(former)
        self.board.configure(self.settings.devices)
        for name in changes.sinks.removed:
            pending = self.journal.cursor(name).pending
            log.warning(
                "sink %s is gone from the configuration and loses its place in the journal; records it had not got: %d",
                name,
                pending,
                extra={"sink": name, "pending": pending},
            )
        self.journal.retain(tuple(self.settings.sinks))
        self._start_sinks(tasks, parts)
        self._start_links(tasks, parts)


_Answer = Changes | ConfigError


@dataclass(slots=True)
class _Parts:
    """What was made and is not started."""

    drivers: list[tuple[Link, Driver]] = field(default_factory=list)
    sinks: dict[str, Sink] = field(default_factory=dict)


def _token(options: ApiOptions) -> str | None:
    """What whoever asks must show; raises GatewayError: without it, everyone on the machine could ask."""
    if options.token_file is None:
        return options.token.get_secret_value() if options.token else None
    try:
        token = Path(options.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise GatewayError(f"the token file of the API, {options.token_file}, cannot be read: {reason}") from error
    if not token:
        raise GatewayError(f"the token file of the API, {options.token_file}, is empty")
    return token
