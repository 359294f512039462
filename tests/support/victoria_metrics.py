"""A real VictoriaMetrics for tests: takes ``/api/v2/write`` and gives back what it stored."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson

from tests.support.processes import Process, free_port, program, run_process


@dataclass(frozen=True, slots=True)
class Series:
    """One time series as ``/api/v1/export`` gives it; times in ms."""

    labels: dict[str, str]
    values: list[float]
    times_ms: list[int]


@dataclass(slots=True)
class VictoriaMetrics:
    """Running on ``port``."""

    port: int
    process: Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def freeze(self) -> None:
        """Connections stay open, nothing answers."""
        self.process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send(signal.SIGCONT)

    async def export(self, match: str = '{__name__=~"reading_.*"}') -> list[Series]:
        """Everything that is stored and matches."""
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            await client.get(f"{self.url}/internal/force_flush")
            params = {"match[]": match, "start": "0", "end": "4102444800"}  # 2100: what a fast clock wrote too
            answer = await client.get(f"{self.url}/api/v1/export", params=params)
            answer.raise_for_status()
        rows = [orjson.loads(line) for line in answer.content.splitlines()]
        return [Series(row["metric"], row["values"], row["timestamps"]) for row in rows]


@contextlib.asynccontextmanager
async def victoria_metrics(folder: Path) -> AsyncIterator[VictoriaMetrics]:
    """A server with an empty store."""
    port = free_port()
    command = (
        program("victoria-metrics"),
        f"-storageDataPath={folder / 'victoria'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=100y",
        "-search.latencyOffset=0s",
    )
    async with run_process(*command, port=port) as process:
        yield VictoriaMetrics(port, process)
