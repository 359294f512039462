from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.clockwatch import Synchronisation, synchronisation, watch_clock
from gateway.health import ClockHealth
from tests.support.clock import FakeClock, settle


class Watch:
    """A running watch over a clock that tests set."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.health = ClockHealth()
        self.kernel: Synchronisation | None = Synchronisation(synchronised=True, offset_s=0.0001)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Watch]:
        task = asyncio.create_task(watch_clock(self.health, self.clock, lambda: self.kernel))
        await settle()
        yield self
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, -56 * 365 * 86_400.0, 2.1])
async def test_t1_a_step_is_said_once_and_counted(step_s: float, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.clock")
    async with Watch().running() as watch:
        await watch.clock.advance(30)
        watch.clock.wall_ns += round(step_s * 1e9)
        await watch.clock.advance(30)
    assert watch.health.steps == 1
    assert watch.health.last_step_s == pytest.approx(step_s)
    [record] = caplog.records
    assert "was set by" in record.message


async def test_t1_slewing_and_a_busy_machine_are_no_steps() -> None:
    async with Watch().running() as watch:
        for _ in range(20):
            watch.clock.wall_ns += 1_900_000_000
            await watch.clock.advance(1)
        await watch.clock.advance(100)  # both clocks go on alike, whatever held the program up
    assert watch.health.steps == 0


async def test_t2_a_clock_that_is_not_synchronised_is_flagged_until_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.clock")
    watch = Watch()
    watch.kernel = Synchronisation(synchronised=False, offset_s=0.0)
    async with watch.running():
        await watch.clock.advance(60)
        assert _flag(watch) is False
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        watch.kernel = Synchronisation(synchronised=True, offset_s=-0.002)
        await watch.clock.advance(11)
        assert (_flag(watch), watch.health.offset_s) == (True, -0.002)
        watch.kernel = None
        await watch.clock.advance(11)
        assert _flag(watch) is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def _flag(watch: Watch) -> bool | None:
    return watch.health.synchronised


def test_the_kernel_answers() -> None:
    found = synchronisation()
    assert found is not None
    assert abs(found.offset_s) < 10
