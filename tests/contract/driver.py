"""What every implementation of ``gateway.core.contracts.Driver`` must do; inherit it, protocol by protocol.

A subclass is called ``Test…`` and fills in the three hooks at the top of :class:`DriverContract`. Everything runs
against the protocol's own simulator on loopback, over the real protocol.
"""

from __future__ import annotations

import asyncio
import os
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import pytest

from gateway.core.clock import Clock, SystemClock
from gateway.core.contracts import Driver, Simulator
from gateway.core.errors import DriverError, NoAnswer, ProtocolError, Unavailable
from gateway.core.model import Group, Kind, Link, Scan, Value
from gateway.core.quality import GOOD, is_bad

CLOSE_S = 2.0  # the longest that close() may take
PATIENCE_S = 15.0  # the longest that anything here may take
SLACK_S = 0.5  # for a busy machine

TYPES: Mapping[Kind, type] = {Kind.FLOAT: float, Kind.INT: int, Kind.BOOL: bool, Kind.TEXT: str}

T = TypeVar("T")

Seen = dict[tuple[str, str], Value]
"""(device, tag) → the newest engineering value."""


class DriverContract(ABC):
    """The rules of a Driver, as tests."""

    # ------------------------------------------------------------------------------- what a protocol fills in

    first: Mapping[str, Mapping[str, Value]]
    """Device → tag → engineering value: one for every tag of every device of ``make_link``."""

    second: Mapping[str, Mapping[str, Value]]
    """The same tags, each with another value."""

    @abstractmethod
    def make_link(self, port: int) -> Link:
        """A link to 127.0.0.1:port with two devices or more, all of them enabled, and short timeouts (≤ 3 s)."""

    @abstractmethod
    def make_driver(self, link: Link, clock: Clock) -> Driver:
        """The driver under test."""

    @abstractmethod
    def make_simulator(self, link: Link) -> Simulator:
        """The simulator of the protocol. Port 0 of the link: any free port."""

    # ------------------------------------------------------------------------------------------------ fixtures

    @pytest.fixture
    async def simulator(self) -> AsyncIterator[Simulator]:
        """A running simulator that says ``first``; in the end nobody has written to it."""
        simulator = self.make_simulator(self.make_link(0))
        await simulator.start()
        self.tell(simulator, self.first)
        yield simulator
        await simulator.close()
        assert simulator.writes == 0, "a driver wrote to a device"

    @pytest.fixture
    async def driver(self, simulator: Simulator) -> AsyncIterator[Driver]:
        """A driver that is connected to the simulator."""
        driver = self.make_driver(self.make_link(simulator.port), SystemClock())
        await driver.connect()
        yield driver
        await driver.close()

    @staticmethod
    def tell(simulator: Simulator, values: Mapping[str, Mapping[str, Value]]) -> None:
        for device, tags in values.items():
            simulator.set(device, tags)

    # --------------------------------------------------------------------------------------------------- shape

    def test_making_one_does_no_io(self) -> None:
        """No event loop runs here and nothing listens there."""
        driver = self.make_driver(self.make_link(1), SystemClock())
        assert isinstance(driver.polled, tuple)
        assert isinstance(driver.pushed, tuple)

    def test_nothing_of_it_can_command_a_plant(self) -> None:
        driver = self.make_driver(self.make_link(1), SystemClock())
        public = [name for name in dir(driver) if not name.startswith("_")]
        assert [name for name in public if re.match(r"(write|set|call|command|execute|force)", name)] == []

    def test_the_hooks_cover_every_tag(self) -> None:
        tags = {device.id: {tag.name for tag in device.tags} for device in self.make_link(1).devices}
        assert len(tags) >= 2
        assert {device: set(values) for device, values in self.first.items()} == tags
        assert {device: set(values) for device, values in self.second.items()} == tags
        for device, values in self.first.items():
            assert all(self.second[device][tag] != value for tag, value in values.items())

    async def test_every_tag_is_in_exactly_one_group(self, driver: Driver) -> None:
        got = sorted(
            (group.device.id, i, group.period_ns) for group in driver.polled + driver.pushed for i in group.index
        )
        link = self.make_link(1)
        assert got == sorted(
            (device.id, i, tag.period_ns) for device in link.devices for i, tag in enumerate(device.tags)
        )

    # -------------------------------------------------------------------------------------------------- values

    async def test_values_are_what_the_devices_say(self, driver: Driver, simulator: Simulator) -> None:
        async with observed(driver) as seen:
            await reached(seen, self.first)
            self.tell(simulator, self.second)
            await reached(seen, self.second)

    async def test_scans_are_well_formed(self, driver: Driver) -> None:
        clock = SystemClock()
        begin_ns = clock.time_ns()
        scans = await one_scan_of_each(driver)
        end_ns = clock.time_ns()
        assert scans
        for group, scan in scans:
            assert scan.device is group.device
            assert set(scan.index) <= set(group.index)
            if group in driver.polled:
                assert scan.index == group.index
            assert len(scan.values) == len(scan.index)
            assert scan.received_ns <= end_ns
            assert scan.received_ns >= begin_ns or group in driver.pushed
            if group in driver.polled:
                assert begin_ns <= scan.time_ns <= scan.received_ns
            for column in (scan.status, scan.times_ns):
                assert column is None or (isinstance(column, tuple) and len(column) == len(scan.index))
            self._check_values(scan)

    @staticmethod
    def _check_values(scan: Scan) -> None:
        assert isinstance(scan.index, tuple)
        assert isinstance(scan.values, tuple)
        for i, value in enumerate(scan.values):
            tag = scan.device.tags[scan.index[i]]
            status = scan.status[i] if scan.status else GOOD
            assert (value is None) == is_bad(status), f"{tag.name}: {value} with status {status:#010x}"
            if value is None:
                continue
            assert type(value) is TYPES[tag.kind], f"{tag.name}: a {type(value).__name__}"

    async def test_devices_do_not_mix(self, driver: Driver, simulator: Simulator) -> None:
        """Only one device changes: the others keep saying what they said."""
        changed = next(iter(self.second))
        simulator.set(changed, self.second[changed])
        async with observed(driver) as seen:
            await reached(seen, {**self.first, changed: self.second[changed]})

    # -------------------------------------------------------------------------------------------------- faults

    async def test_nobody_there_is_unavailable(self) -> None:
        port = await unused_port()
        driver = self.make_driver(self.make_link(port), SystemClock())
        with pytest.raises(Unavailable) as caught:
            await within(PATIENCE_S, driver.connect())
        assert str(port) in str(caught.value), "the sentence says where nobody listens"
        await driver.close()

    async def test_connect_works_after_it_failed(self) -> None:
        port = await unused_port()
        driver = self.make_driver(self.make_link(port), SystemClock())
        with pytest.raises(Unavailable):
            await within(PATIENCE_S, driver.connect())
        async with self._served(port, self.first):
            await within(PATIENCE_S, driver.connect())
            async with observed(driver) as seen:
                await reached(seen, self.first)
            await driver.close()

    async def test_a_peer_that_accepts_and_stays_silent(self) -> None:
        """Connecting or the first read fails, in bounded time and with an error of ours."""
        async with silent_server() as port:
            driver = self.make_driver(self.make_link(port), SystemClock())
            with pytest.raises(DriverError):
                await within(PATIENCE_S, _connect_and_read_all(driver))
            await within(CLOSE_S + SLACK_S, driver.close())

    async def test_a_peer_that_goes_away_and_comes_back(self) -> None:
        port = await unused_port()
        driver = self.make_driver(self.make_link(port), SystemClock())
        async with self._served(port, self.first):
            await driver.connect()
            async with observed(driver) as seen:
                await reached(seen, self.first)
        with pytest.raises((Unavailable, ProtocolError, NoAnswer)):
            await within(PATIENCE_S, _until_it_fails(driver))
        async with self._served(port, self.second):
            await within(PATIENCE_S, driver.connect())
            async with observed(driver) as seen:
                await reached(seen, self.second)
            await driver.close()

    @asynccontextmanager
    async def _served(self, port: int, values: Mapping[str, Mapping[str, Value]]) -> AsyncIterator[Simulator]:
        simulator = self.make_simulator(self.make_link(port))
        await simulator.start()
        try:
            assert simulator.port == port
            self.tell(simulator, values)
            yield simulator
            assert simulator.writes == 0
        finally:
            await simulator.close()

    async def test_a_cancelled_conversation_does_no_harm(self, driver: Driver, simulator: Simulator) -> None:
        """Cancelled at any point of a read, the driver still never takes one answer for another."""
        for steps in range(6):
            task = asyncio.create_task(_read_all(driver), name="to be cancelled")
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError, DriverError):
                await task
        await driver.connect()
        self.tell(simulator, self.second)
        async with observed(driver, patient=True) as seen:  # a unit that owes an answer may be left alone at first
            await reached(seen, self.second)

    # --------------------------------------------------------------------------------------- connect and close

    async def test_connecting_again_lets_go_of_what_was_open(self, driver: Driver) -> None:
        await driver.connect()
        before = _sockets()
        for _ in range(3):
            await driver.connect()
        await true(lambda: _sockets() <= before, "a socket is left with every connect")

    async def test_close_may_come_at_any_time_and_twice(self, simulator: Simulator) -> None:
        driver = self.make_driver(self.make_link(simulator.port), SystemClock())
        await driver.close()
        await driver.connect()
        await within(CLOSE_S + SLACK_S, driver.close())
        await within(CLOSE_S + SLACK_S, driver.close())

    async def test_close_leaves_no_task_and_no_socket(self, simulator: Simulator) -> None:
        await self._use_once(simulator)  # whatever is made once and kept is made now
        tasks, sockets = _tasks(), _sockets()
        await self._use_once(simulator)
        await true(lambda: _tasks() <= tasks, "tasks are left")
        await true(lambda: _sockets() <= sockets, "sockets are left")

    async def _use_once(self, simulator: Simulator) -> None:
        driver = self.make_driver(self.make_link(simulator.port), SystemClock())
        await driver.connect()
        async with observed(driver) as seen:
            await reached(seen, self.first)
        await within(CLOSE_S + SLACK_S, driver.close())

    async def test_a_closed_driver_says_so_when_read(self, driver: Driver) -> None:
        polled = driver.polled
        await driver.close()
        for group in polled:
            with pytest.raises(DriverError):
                await within(PATIENCE_S, driver.read(group))

    async def test_listen_returns_at_once_or_never(self, driver: Driver) -> None:
        if not driver.pushed:
            await within(1.0, driver.listen(lambda scan: None))
            return
        task = asyncio.create_task(driver.listen(lambda scan: None), name="listen")
        done, _ = await asyncio.wait([task], timeout=0.5)
        assert not done
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(CLOSE_S, task)


# ------------------------------------------------------------------------------------------------------- helpers


async def within(seconds: float, doing: Awaitable[T]) -> T:
    """The result of ``doing``, which must not take longer than that."""
    async with asyncio.timeout(seconds):
        return await doing


async def true(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait until the condition holds."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110  # what is waited for is outside of this process's code
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(otherwise)


@asynccontextmanager
async def observed(driver: Driver, *, patient: bool = False) -> AsyncIterator[Seen]:
    """The newest values, kept up to date by polling and listening in the background.

    ``patient``: a device that does not answer is asked again.
    """
    seen: Seen = {}

    def see(scan: Scan) -> None:
        for i, value in zip(scan.index, scan.values, strict=True):
            seen[scan.device.id, scan.device.tags[i].name] = engineering(scan, i, value)

    async def poll() -> None:
        while driver.polled:
            for group in driver.polled:
                try:
                    see(await driver.read(group))
                except NoAnswer:
                    if not patient:
                        raise
            await asyncio.sleep(0.005)

    async def both() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(poll(), name="poll")
            tasks.create_task(driver.listen(see), name="listen")

    task = asyncio.create_task(both(), name="observe")
    try:
        yield seen
    finally:
        if task.done():
            task.result()  # why nothing more was seen
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def engineering(scan: Scan, i: int, value: Value) -> Value:
    """What normalise makes of a wire value."""
    tag = scan.device.tags[i]
    if value is None or tag.kind is not Kind.FLOAT:
        return value
    assert not isinstance(value, str)
    return value * tag.scale + tag.offset


async def reached(seen: Seen, wanted: Mapping[str, Mapping[str, Value]]) -> None:
    """Wait until the devices have said exactly this (floats: to nine digits, for the scaling)."""
    expected: Seen = {(device, tag): value for device, tags in wanted.items() for tag, value in tags.items()}

    def equal(key: tuple[str, str], value: Value) -> bool:
        if key not in seen:
            return False
        if isinstance(value, float):
            return isinstance(seen[key], float) and bool(seen[key] == pytest.approx(value, rel=1e-9, abs=1e-12))
        return type(seen[key]) is type(value) and seen[key] == value

    try:
        async with asyncio.timeout(PATIENCE_S):
            while not all(equal(key, value) for key, value in expected.items()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    except TimeoutError:
        wrong = {key: (seen.get(key, "never seen"), value) for key, value in expected.items() if not equal(key, value)}
        pytest.fail(f"(seen, wanted): {wrong}")


async def one_scan_of_each(driver: Driver) -> list[tuple[Group, Scan]]:
    """One scan of every polled group, and the first of every pushed device."""
    scans = [(group, await driver.read(group)) for group in driver.polled]
    if not driver.pushed:
        return scans
    pushed: list[Scan] = []
    task = asyncio.create_task(driver.listen(pushed.append), name="listen")
    wanted = {group.device.id for group in driver.pushed}
    try:
        await true(lambda: wanted <= {scan.device.id for scan in pushed}, "a device pushed nothing")
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    for scan in pushed:
        group = next(
            group for group in driver.pushed if group.device is scan.device and set(scan.index) <= set(group.index)
        )
        scans.append((group, scan))
    return scans


async def _read_all(driver: Driver) -> None:
    for group in driver.polled:
        await driver.read(group)


async def _connect_and_read_all(driver: Driver) -> None:
    await driver.connect()
    await _read_all(driver)


async def _until_it_fails(driver: Driver) -> None:
    if driver.pushed:
        await driver.listen(lambda scan: None)
    while True:
        await _read_all(driver)
        await asyncio.sleep(0.005)


async def unused_port() -> int:
    """A loopback port where nobody listens."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """A server that accepts connections and never says a word; gives its port."""
    writers: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await server.wait_closed()


def _sockets() -> int:
    """Sockets that this process holds open (Linux)."""
    count = 0
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists, gone by now
            count += os.readlink(f"/proc/self/fd/{entry}").startswith("socket:")
    return count


def _tasks() -> int:
    return len(asyncio.all_tasks())
