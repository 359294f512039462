from __future__ import annotations

import asyncio

import pytest

from gateway.supervisor import Supervisor


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_one_task_is_ended_and_the_others_go_on() -> None:
    async with asyncio.TaskGroup() as group:
        tasks = Supervisor(group)
        tasks.start("link", "a", for_ever())
        tasks.start("link", "b", for_ever())
        await tasks.end("link", names=["a"])
        assert {task.get_name() for task in asyncio.all_tasks()} >= {"link b"}
        assert "link a" not in {task.get_name() for task in asyncio.all_tasks()}
        tasks.start("link", "a", for_ever())
        await tasks.end("link")


async def test_a_cancellation_that_nobody_asked_for_is_a_bug() -> None:
    async def cancelled_from_within() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            tasks = Supervisor(group)
            tasks.start("link", "b", for_ever())
            tasks.start("link", "a", cancelled_from_within())
    assert "link a was cancelled from within" in str(caught.value.exceptions[0])
