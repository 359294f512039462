"""The loop whose clock jumps: waiting costs nothing, an answer is never too late because the machine is slow."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from tests.support.hurried import hurried


@hurried
async def test_an_hour_of_silence_is_soon_over() -> None:
    loop = asyncio.get_running_loop()
    begin, real = loop.time(), time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await loop.create_future()
    assert loop.time() - begin == pytest.approx(3600)
    assert time.monotonic() - real < 600


@hurried
async def test_timers_go_off_in_their_order() -> None:
    loop = asyncio.get_running_loop()
    heard: list[str] = []
    loop.call_later(20, heard.append, "later")
    loop.call_later(10, heard.append, "sooner")
    await asyncio.sleep(15)
    assert heard == ["sooner"]
    await asyncio.sleep(15)
    assert heard == ["sooner", "later"]


@hurried
async def test_what_is_there_comes_before_a_timeout_however_long_the_process_was_busy() -> None:
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    far.sendall(b"answer")
    async with asyncio.timeout(0.001):
        time.sleep(0.02)  # noqa: ASYNC251  # as if another process had the machine
        assert await reader.readexactly(6) == b"answer"
    writer.close()
    far.close()


@hurried
async def test_threads_are_waited_for() -> None:
    async with asyncio.timeout(60):
        await asyncio.to_thread(time.sleep, 0.2)
    assert asyncio.get_running_loop().time() < 1


def test_a_task_that_is_left_behind_fails_the_test() -> None:
    left: list[asyncio.Task[None]] = []

    async def careless() -> None:
        left.append(asyncio.create_task(asyncio.sleep(10), name="forgotten"))

    with pytest.raises(AssertionError, match=r"left behind: .*forgotten"):
        hurried(careless)()
