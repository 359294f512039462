"""What every sink keeps to; an implementation inherits the class and says how to reach a real other side.

A row is (device, tag, time in ms): what both MQTT messages and series can be asked for.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import pytest

from gateway.core.contracts import Sink
from gateway.core.errors import SinkUnavailable
from gateway.core.model import Batch
from gateway.core.quality import GOOD, Status
from tests.support.batches import T0, batch, floats
from tests.support.waiting import until

Row = tuple[str, str, int]


class OtherSide(Protocol):
    """A real server behind something that can be cut off."""

    def make(self) -> Sink:
        """A new sink for it."""

    async def go(self) -> None:
        """Nobody answers at that port any more; what is open is closed."""

    async def come(self) -> None:
        """Answer again."""

    async def stored(self) -> set[Row]:
        """What has arrived."""


def rows(batches: list[Batch]) -> set[Row]:
    return {(reading.device, reading.tag, reading.time_ns // 10**6) for each in batches for reading in each.readings()}


class SinkContract:
    """Inherit, and give a fixture ``side`` of type OtherSide."""

    @pytest.fixture
    def sink(self, side: OtherSide) -> Sink:
        return side.make()

    async def arrived(self, side: OtherSide, batches: list[Batch]) -> None:
        """Wait until everything can be read on the other side."""
        wanted = rows(batches)
        for _ in range(200):
            if wanted <= await side.stored():
                return
            await asyncio.sleep(0.02)
        missing = wanted - await side.stored()
        raise AssertionError(f"{len(missing)} of {len(wanted)} rows did not arrive: {sorted(missing)[:5]}")

    def test_it_says_how_much_one_write_should_get(self, sink: Sink) -> None:
        records, readings = sink.window
        assert records >= 1
        assert readings >= 1
        assert 0 <= sink.linger_s <= 60

    async def test_making_one_touches_nothing(self, side: OtherSide) -> None:
        await side.go()
        sink = side.make()
        await sink.close()

    async def test_write_needs_a_connection(self, sink: Sink) -> None:
        with pytest.raises(SinkUnavailable):
            await sink.write(floats(1), history=False)

    async def test_what_was_written_is_there(self, side: OtherSide, sink: Sink) -> None:
        await sink.connect()
        batches = floats(300)
        await sink.write(batches[:299], history=False)
        await sink.write(batches[299:], history=True)
        await self.arrived(side, batches)
        await sink.close()

    async def test_every_kind_and_every_quality_is_taken(self, side: OtherSide, sink: Sink) -> None:
        odd = 'x"\\,= \n电'
        batches = [
            batch((1e300, -0.0, 2**63 - 1, False, odd), seq=1, run="pl1-1", phase=odd),
            batch((5e-324, 1.0, -(2**63), True, ""), seq=2),
            batch((1.5, 1.0, 2**64 - 1, True, "beyond int64"), seq=3),
            batch(
                (None, 2.5, None, None, None),
                seq=4,
                status=(
                    Status.BAD_SENSOR_FAILURE,
                    Status.UNCERTAIN_LAST_USABLE_VALUE,
                    *(Status.BAD_NO_COMMUNICATION,) * 3,
                ),
            ),
            batch((2.5, 3), seq=5, index=(0, 2), times_ns=(T0 + 5 * 10**9, T0 + 6 * 10**9)),
            batch((4.5,), seq=6, status=(GOOD,)),
        ]
        await sink.connect()
        await sink.write(batches, history=False)
        await self.arrived(side, batches)
        await sink.close()

    async def test_the_same_batches_may_come_again(self, side: OtherSide, sink: Sink) -> None:
        await sink.connect()
        await sink.write(floats(20), history=False)
        await sink.write(floats(20), history=True)
        await self.arrived(side, floats(20))
        assert await side.stored() == rows(floats(20))
        await sink.close()

    async def test_connect_may_be_called_again(self, side: OtherSide, sink: Sink) -> None:
        await sink.connect()
        await sink.connect()
        await sink.write(floats(2), history=False)
        await self.arrived(side, floats(2))
        await sink.close()

    async def test_close_is_short_and_may_be_called_at_any_time(self, sink: Sink) -> None:
        async with asyncio.timeout(2):
            await sink.close()
        await sink.connect()
        async with asyncio.timeout(2):
            await sink.close()
            await sink.close()
        with pytest.raises(SinkUnavailable):
            await sink.write(floats(1), history=False)
        await sink.connect()
        await sink.write(floats(1), history=False)
        await sink.close()

    async def test_an_other_side_that_is_gone_is_unavailable_and_found_again(self, side: OtherSide, sink: Sink) -> None:
        await side.go()
        with pytest.raises(SinkUnavailable):
            await sink.connect()
        await side.come()
        await sink.connect()
        await sink.write(floats(3), history=False)
        await side.go()
        with pytest.raises(SinkUnavailable):
            await sink.write(floats(3, first=4), history=False)
        with pytest.raises(SinkUnavailable):
            await sink.connect()
        await side.come()
        await sink.connect()
        await sink.write(floats(3, first=4), history=True)
        await self.arrived(side, floats(6))
        await sink.close()

    async def test_a_cancelled_write_may_be_done_again(self, side: OtherSide, sink: Sink) -> None:
        await sink.connect()
        write = asyncio.create_task(sink.write(floats(200), history=False), name="write")
        await asyncio.sleep(0)
        write.cancel()
        await until(write.done, "the write is cancelled", within_s=2)
        await sink.write(floats(200), history=False)
        await self.arrived(side, floats(200))
        await sink.close()
