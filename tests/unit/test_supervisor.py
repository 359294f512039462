from __future__ import annotations

import asyncio

import pytest

from gateway.supervisor import Supervisor


async def test_only_the_named_tasks_end_and_their_end_is_waited_for() -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async with asyncio.TaskGroup() as group:
        tasks = Supervisor(group)
        for kind, name in (("link", "a"), ("link", "b"), ("sink", "a")):
            tasks.start(kind, name, work(f"{kind} {name}"))
        await asyncio.sleep(0)
        await tasks.end("link", names=["a", "never started"])
        assert ended == ["link a"]
        tasks.start("link", "a", work("link a again"))
        await asyncio.sleep(0)
        await tasks.end("link")
        assert sorted(ended[1:]) == ["link a again", "link b"]
        await tasks.end("sink", "link")
        assert ended[-1] == "sink a"


async def test_a_bug_in_one_task_ends_them_all() -> None:
    async def bug() -> None:
        raise LookupError("a bug")

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = Supervisor(group)
            tasks.start("link", "good", asyncio.sleep(3600))
            tasks.start("link", "bad", bug())

    with pytest.raises(ExceptionGroup) as raised:
        await both()
    assert [type(error) for error in raised.value.exceptions] == [LookupError]


async def test_a_cancellation_that_nobody_asked_for_is_a_bug() -> None:
    async def cancelled_from_within() -> None:
        raise asyncio.CancelledError

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            Supervisor(group).start("link", "a", cancelled_from_within())

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert "link a was cancelled from within" in str(caught.value.exceptions[0])
