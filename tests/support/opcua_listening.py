"""What a driver says, kept for tests to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from drivers.opcua.driver import OpcUaDriver
from gateway.core.errors import DriverError
from gateway.core.model import Scan, Value
from gateway.core.quality import GOOD

PATIENCE_S = 60.0


@dataclass(slots=True)
class Heard:
    """Scans so far, and every value by tag in the order of arrival."""

    scans: list[Scan] = field(default_factory=list)
    values: dict[str, list[Value]] = field(default_factory=dict)
    status: dict[str, list[int]] = field(default_factory=dict)
    error: DriverError | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, scan: Scan) -> None:
        self.scans.append(scan)
        for position, i in enumerate(scan.index):
            name = scan.device.tags[i].name
            self.values.setdefault(name, []).append(scan.values[position])
            self.status.setdefault(name, []).append(scan.status[position] if scan.status else GOOD)

    async def until(self, condition: Callable[[Heard], bool], what: str) -> None:
        """Wait until the condition holds; the listener must not end meanwhile."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition(self):
                    if self.error is not None:
                        raise self.error
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pytest.fail(f"not heard: {what}; heard { ({name: values[-1] for name, values in self.values.items()}) }")

    async def until_newest(self, tag: str, value: Value) -> None:
        """Wait until the newest value of the tag is this one."""
        await self.until(lambda heard: heard.values.get(tag, [None])[-1] == value, f"{tag} = {value}")


@asynccontextmanager
async def listening(driver: OpcUaDriver) -> AsyncIterator[Heard]:
    """Everything that ``listen`` and polls of the polled groups say until the block is left."""
    heard = Heard()

    async def run() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(driver.listen(heard.take))
                tasks.create_task(poll())
        except BaseExceptionGroup as group:
            expected, bugs = group.split(DriverError)
            if bugs or expected is None:
                raise
            error = expected.exceptions[0]
            assert isinstance(error, DriverError)
            heard.error = error
            heard.ended.set()

    async def poll() -> None:
        while driver.polled:
            for group in driver.polled:
                heard.take(await driver.read(group))
            await asyncio.sleep(0.01)

    task = asyncio.create_task(run(), name="listening")
    try:
        yield heard
        if task.done():
            task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def ends(heard: Heard, within_s: float) -> DriverError:
    """The error that the listener ends with."""
    try:
        async with asyncio.timeout(within_s):
            await heard.ended.wait()
    except TimeoutError:
        pytest.fail(f"the driver did not notice within {within_s} s")
    assert heard.error is not None
    return heard.error
