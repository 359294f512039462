from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import pytest

from gateway.acquire import LinkTask
from gateway.core.errors import NoAnswer, Refused, Unavailable
from gateway.core.model import Device, Link, Scan, groups
from gateway.core.quality import Status
from gateway.health import LinkHealth, State
from tests.support.clock import FakeClock, settle
from tests.support.devices import device, tag
from tests.support.driver import FakeDriver

METER = device(tag("power", period_ns=1_000_000_000), id="meter")
JACKET = device(tag("temperature", period_ns=1_000_000_000), id="jacket")


class Bench:
    """One link task, with everything it reports."""

    def __init__(self, *devices: Device) -> None:
        self.clock = FakeClock()
        self.link = Link("bus", "fake", devices)
        self.driver = FakeDriver(self.link, self.clock)
        self.health = LinkHealth("bus", "fake")
        self.scans: list[Scan] = []
        self.learnt: list[Device] = []
        self.states: dict[str, tuple[State, str]] = {}
        self.task = LinkTask(
            self.link, self.driver, self.scans.append, self._set_state, self.learnt.append, self.health, self.clock
        )

    def _set_state(self, of: Device, state: State, error: str) -> None:
        self.states[of.id] = (state, error)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        running = asyncio.create_task(self.task.run())
        await settle()
        try:
            yield self
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    def values(self, of: Device) -> list[float | None]:
        return [scan.values[0] for scan in self.scans if scan.device is of]  # type: ignore[misc]

    def read_times(self, of: Device) -> list[int]:
        return [at for id_, at in self.driver.reads if id_ == of.id]


async def test_the_first_value_comes_at_once_and_then_on_a_grid_without_drift() -> None:
    bench = Bench(METER)
    bench.driver.takes_s["meter"] = 0.3
    async with bench.running():
        await bench.clock.advance(10)
    first, *later = bench.read_times(METER)
    assert first == 1_000_000_000
    assert {b - a for a, b in pairwise(later)} == {1_000_000_000}
    assert bench.health.overruns == 0
    assert bench.states["meter"] == (State.ONLINE, "")


async def test_a_device_slower_than_its_period_is_counted_and_never_piles_up() -> None:
    bench = Bench(METER)
    bench.driver.takes_s["meter"] = 2.5
    async with bench.running():
        await bench.clock.advance(30)
    starts = bench.read_times(METER)
    assert all(b - a >= 2_500_000_000 for a, b in pairwise(starts))
    assert len(starts) + bench.health.overruns == pytest.approx(31, abs=3)
    assert bench.health.overruns >= 18


async def test_periods_of_one_device_are_kept_apart() -> None:
    both = device(tag("fast", period_ns=500_000_000), tag("slow", period_ns=5_000_000_000))
    bench = Bench(both)
    async with bench.running():
        await bench.clock.advance(20)
    counts = [sum(scan.index == group.index for scan in bench.scans) for group in groups(both)]
    assert counts == [pytest.approx(41, abs=1), pytest.approx(5, abs=1)]


async def test_slow_groups_do_not_delay_a_fast_one_by_more_than_the_read_that_is_under_way() -> None:
    slow = [device(tag("t", period_ns=10_000_000_000), id=f"slow{i}") for i in range(8)]
    bench = Bench(*slow, METER)
    bench.driver.takes_s = {each.id: 0.4 for each in slow}
    async with bench.running():
        await bench.clock.advance(60)
    gaps = [b - a for a, b in pairwise(bench.read_times(METER))]
    assert max(gaps) <= 1_400_000_000
    assert all(len(bench.read_times(each)) >= 6 for each in slow), "and none of them starves"
    assert bench.health.overruns == 0


async def test_on_a_bus_that_is_too_slow_for_all_nobody_starves() -> None:
    slow = device(tag("t", period_ns=10_000_000_000), id="slow")
    bench = Bench(METER, JACKET, slow)
    bench.driver.takes_s = {"meter": 0.9, "jacket": 0.9, "slow": 0.9}
    async with bench.running():
        await bench.clock.advance(100)
    assert len(bench.read_times(slow)) >= 5


async def test_a_silent_device_turns_bad_once_and_the_others_keep_their_pace(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(METER, JACKET)
    async with bench.running():
        await bench.clock.advance(5)
        bench.driver.silent.add("jacket")
        bench.scans.clear()
        with caplog.at_level(logging.WARNING):
            await bench.clock.advance(60)
    assert bench.values(JACKET) == [None]
    assert [scan.status for scan in bench.scans if scan.device is JACKET] == [(Status.BAD_COMMUNICATION_ERROR,)]
    assert len(bench.values(METER)) == 60
    assert bench.states["jacket"] == (State.OFFLINE, "jacket does not answer")
    assert bench.health.state is State.DEGRADED
    assert [record.getMessage() for record in caplog.records] == ["wuxi/pl1/jacket: jacket does not answer"]
    assert bench.health.silent < 15  # it is knocked at ever more rarely


async def test_a_device_without_a_way_to_it_turns_what_the_driver_says() -> None:
    bench = Bench(METER, JACKET)
    bench.driver.silence = Status.BAD_NO_COMMUNICATION
    bench.driver.silent.add("jacket")
    async with bench.running():
        await bench.clock.advance(5)
    statuses = [scan.status for scan in bench.scans if scan.device is JACKET]
    assert statuses == [(Status.BAD_NO_COMMUNICATION,)]


async def test_a_device_that_comes_back_is_seen_within_ten_seconds() -> None:
    bench = Bench(METER, JACKET)
    bench.driver.silent.add("jacket")
    async with bench.running():
        await bench.clock.advance(600)
        bench.driver.silent.clear()
        bench.scans.clear()
        await bench.clock.advance(10)
        assert bench.states["jacket"] == (State.ONLINE, "")
        assert bench.values(JACKET)
        assert bench.health.state is State.ONLINE


async def test_a_dead_link_turns_every_device_bad_once_and_is_tried_again() -> None:
    bench = Bench(METER, JACKET)
    async with bench.running():
        await bench.clock.advance(3)
        bench.scans.clear()
        bench.driver.link_error = Unavailable("nothing listens there")
        await bench.clock.advance(60)
        assert [(scan.device.id, scan.status) for scan in bench.scans] == [
            ("meter", (Status.BAD_NO_COMMUNICATION,)),
            ("jacket", (Status.BAD_NO_COMMUNICATION,)),
        ]
        assert (bench.health.state, bench.health.error) == (State.OFFLINE, "nothing listens there")
        bench.driver.link_error = None
        await bench.clock.advance(10)
        assert bench.health.state is State.ONLINE
        assert bench.health.error == ""


async def test_a_device_absent_at_start_is_bad_once() -> None:
    bench = Bench(METER)
    bench.driver.link_error = Unavailable("nothing listens there")
    async with bench.running():
        await bench.clock.advance(300)
    assert bench.values(METER) == [None]
    waits = [b - a for a, b in pairwise(bench.driver.connects)]
    assert waits[0] < 1_500_000_000
    assert max(waits) < 10_000_000_000


async def test_a_server_that_refuses_us_is_left_in_peace() -> None:
    bench = Bench(METER)
    bench.driver.link_error = Refused("the password is wrong")
    async with bench.running():
        await bench.clock.advance(300)
    assert len(bench.driver.connects) <= 11


async def test_a_server_that_we_refuse_is_asked_again_soon() -> None:
    """A person trusts its certificate at this machine, and waits."""
    bench = Bench(METER)
    bench.driver.link_error = Refused("the certificate is not trusted yet", slow=False)
    async with bench.running():
        await bench.clock.advance(300)
    assert len(bench.driver.connects) >= 40


async def test_pushed_values_arrive_and_a_lost_session_is_reconnected() -> None:
    bench = Bench(METER)
    bench.driver.pushed, bench.driver.polled = bench.driver.polled, ()
    async with bench.running():
        assert bench.driver.emit
        bench.driver.emit(Scan(METER, (0,), (7.5,), None, 1, 1))
        assert bench.values(METER) == [7.5]
        assert bench.states["meter"] == (State.ONLINE, "")
        bench.driver.break_link(Unavailable("the session was lost"))
        await bench.clock.advance(0.1)
        assert bench.states["meter"] == (State.OFFLINE, "the session was lost")
        bench.driver.link_error = None
        await bench.clock.advance(2)
        assert len(bench.driver.connects) == 2


async def test_what_a_server_says_it_dropped_is_counted_across_sessions() -> None:
    bench = Bench(METER)
    bench.driver.pushed, bench.driver.polled = bench.driver.polled, ()
    async with bench.running():
        for count in (3, 3, 5, 0, 2):  # per session: a new one begins at 0
            bench.driver.overflows = count
            assert bench.driver.emit
            bench.driver.emit(Scan(METER, (0,), (7.5,), None, 1, 1))
    assert bench.health.overflows == 7


@pytest.mark.parametrize("step_s", [3600, -3600, -56 * 365 * 86_400])
async def test_t1_a_clock_that_is_set_moves_no_poll(step_s: int) -> None:
    bench = Bench(METER)
    async with bench.running():
        await bench.clock.advance(5)
        bench.clock.wall_ns += step_s * 1_000_000_000
        await bench.clock.advance(5)
    times = bench.read_times(METER)
    assert len(times) >= 10
    assert {after - before for before, after in pairwise(times[1:])} == {1_000_000_000}
    assert bench.health.overruns == 0


async def test_a_device_that_says_megabytes_makes_no_megabytes_of_status() -> None:
    bench = Bench(METER)
    bench.driver.link_error = Unavailable("x" * 1_000_000)
    async with bench.running():
        await bench.clock.advance(1)
    assert len(bench.health.error) == len(bench.states["meter"][1]) == 500


async def test_some_bad_tags_make_a_device_degraded_until_they_are_good() -> None:
    bench = Bench(METER)
    async with bench.running():
        bench.driver.status["meter"] = (Status.BAD_CONFIGURATION_ERROR,)
        await bench.clock.advance(2)
        assert bench.states["meter"][0] is State.DEGRADED
        bench.driver.status.clear()
        await bench.clock.advance(2)
        assert bench.states["meter"] == (State.ONLINE, "")


async def test_a_device_that_is_switched_off_says_so_and_is_never_asked() -> None:
    off = replace(JACKET, enabled=False)
    bench = Bench(METER, off)
    async with bench.running():
        await bench.clock.advance(5)
    assert [(scan.values, scan.status) for scan in bench.scans if scan.device is off] == [
        ((None,), (Status.BAD_OUT_OF_SERVICE,))
    ]
    assert bench.read_times(off) == []


async def test_a_bug_is_not_hidden() -> None:
    bench = Bench(METER)

    async def broken(_: object) -> Scan:
        raise ZeroDivisionError

    bench.driver.read = broken  # type: ignore[assignment,method-assign]
    with pytest.raises(ExceptionGroup):
        await bench.task.run()
    assert bench.driver.closed == 1


def test_no_answer_concerns_a_device_and_not_its_link() -> None:
    assert not issubclass(NoAnswer, Unavailable)


async def test_what_a_device_says_of_itself_is_told_before_its_first_value_and_kept_when_it_is_lost() -> None:
    bench = Bench(METER, JACKET)
    taught = replace(METER, tags=(replace(METER.tags[0], unit="kW", low=0.0, high=5.0),))
    as_configured = bench.driver.polled
    bench.driver.polled = tuple(replace(g, device=taught) if g.device is METER else g for g in as_configured)
    async with bench.running():
        assert bench.learnt == [taught]
        assert [scan.device for scan in bench.scans] == [taught, JACKET]
        bench.driver.link_error = Unavailable("pulled out")
        await bench.clock.advance(1)
        assert [scan.device for scan in bench.scans[2:]] == [taught, JACKET]
        assert bench.values(taught)[-1] is None
        bench.driver.link_error = None
        await bench.clock.advance(5)
        assert bench.values(taught)[-1] == 0.0
    assert bench.learnt == [taught], "once"
