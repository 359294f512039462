"""The real servers that a benchmark delivers to, on loopback, with nothing that would hold back or drop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.support.processes import Process, free_port, program, run_process

SETTLE_S = 1.5
MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
"""


@asynccontextmanager
async def mosquitto(directory: Path) -> AsyncIterator[tuple[Process, int]]:
    """A broker; gives its process and port."""
    port = free_port()
    config = directory / "mosquitto.conf"
    config.write_text(MOSQUITTO.format(port=port))
    async with run_process(program("mosquitto"), "-c", str(config), port=port) as process:
        yield process, port


@asynccontextmanager
async def victoria_metrics(directory: Path) -> AsyncIterator[tuple[Process, int]]:
    """A time-series database that takes InfluxDB's writes; gives its process and port."""
    port = free_port()
    command = (
        program("victoria-metrics"),
        f"-storageDataPath={directory / 'victoria-metrics'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-search.latencyOffset=0s",
        "-search.disableCache",
        "-retentionPeriod=100y",
        "-loggerLevel=WARN",
    )
    async with run_process(*command, port=port) as process:
        yield process, port


async def stored_values(port: int, metric: str = "reading_value", within: str = "1h") -> int:
    """How many samples of a metric the database holds, copies included, once it has none left to sort in.

    What was written a moment ago takes up to a second to show, also after a flush: so two looks have to agree.
    """
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
        before, now = -1, await _count(client, metric, within)
        while now != before:
            await asyncio.sleep(SETTLE_S)
            before, now = now, await _count(client, metric, within)
        return now


async def _count(client: httpx.AsyncClient, metric: str, within: str) -> int:
    await client.get("/internal/force_flush")
    answer = await client.get("/api/v1/query", params={"query": f"sum(count_over_time({metric}[{within}]))"})
    answer.raise_for_status()
    result = answer.json()["data"]["result"]
    return int(result[0]["value"][1]) if result else 0
