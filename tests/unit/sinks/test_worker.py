"""The thread for blocking calls."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from gateway.sinks.worker import Worker
from tests.support.waiting import until


async def test_results_and_errors_come_back_and_the_thread_ends() -> None:
    worker = Worker("test-worker")
    assert await worker.call(lambda: threading.current_thread().name) == "test-worker"
    with pytest.raises(ZeroDivisionError):
        await worker.call(lambda: 1 // 0)
    assert await worker.call(lambda: 2) == 2
    worker.stop()
    await until(lambda: "test-worker" not in {thread.name for thread in threading.enumerate()}, "the thread ends")


async def test_a_cancelled_call_runs_to_its_end_unheard() -> None:
    worker, begun, go = Worker("test-worker"), threading.Event(), threading.Event()
    ended: list[bool] = []

    def work() -> None:
        begun.set()
        ended.append(go.wait(5))

    call = asyncio.create_task(worker.call(work), name="call")
    await until(begun.is_set, "it began")
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    go.set()
    assert await worker.call(lambda: list(ended)) == [True]
    worker.stop()


def test_only_a_configured_influxdb_pays_for_its_library() -> None:
    code = (
        "import sys, gateway.sinks, gateway.sinks.mqtt; assert 'influxdb_client' not in sys.modules\n"
        "import gateway.sinks.influxdb; assert 'influxdb_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
