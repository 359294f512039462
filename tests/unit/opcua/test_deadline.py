from __future__ import annotations

import asyncio

import pytest
from wait_for2 import CancelledWithResultError

from drivers.opcua.session import deadline


async def answered_at_the_last_moment() -> None:
    """What wait_for2 does when it is cancelled just when the result is there."""
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        raise CancelledWithResultError(b"answer", False) from None


async def test_a_result_in_the_moment_of_the_timeout_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with deadline(0.01):
            await answered_at_the_last_moment()


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def wait() -> None:
        async with deadline(10):
            await answered_at_the_last_moment()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
