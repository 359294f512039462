"""Debian's InfluxDB 1.6 for tests, behind a front that speaks the v2 write API.

1.6 has only ``/write``; 1.8 added ``/api/v2/write`` in front of the same storage. The front does what 1.8 does:
bucket becomes database, the token is ignored, everything else, answers included, is passed on as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import free_ports, program, run_process
from tests.support.tcp import listening

CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
[monitor]
  store-enabled = false
"""


@dataclass(slots=True)
class Influx:
    """``port`` is the front's; ``database`` exists."""

    port: int
    behind: str
    database: str = "plant"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def query(self, influxql: str) -> list[dict[str, Any]]:
        """The rows of all series, tags and columns by name, times in ns."""
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            params = {"db": self.database, "q": influxql, "epoch": "ns"}
            answer = (await client.post(f"{self.behind}/query", params=params)).raise_for_status().json()
        result = answer["results"][0]
        assert "error" not in result, result["error"]
        return [
            {**series.get("tags", {}), **dict(zip(series["columns"], row, strict=True))}
            for series in result.get("series", ())
            for row in series["values"]
        ]

    async def write(self, line: str) -> None:
        """As some other program would."""
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            answer = await client.post(f"{self.behind}/write", params={"db": self.database}, content=line)
            answer.raise_for_status()


@contextlib.asynccontextmanager
async def influxd(folder: Path) -> AsyncIterator[Influx]:
    """A server with an empty database."""
    rpc, http = free_ports(2)
    (folder / "influxdb.conf").write_text(CONFIG.format(folder=folder, rpc=rpc, http=http))
    command = (program("influxd"), "-config", str(folder / "influxdb.conf"))
    async with run_process(*command, port=http), httpx.AsyncClient(timeout=10, trust_env=False) as client:
        behind = f"http://127.0.0.1:{http}"

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                writer.write(await _forward(client, behind, reader))

        async with listening(serve) as port:
            influx = Influx(port, behind)
            await influx.query(f"CREATE DATABASE {influx.database}")
            yield influx


async def _forward(client: httpx.AsyncClient, behind: str, reader: asyncio.StreamReader) -> bytes:
    """One request, passed on; gives the answer as it goes over the wire."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    target = target.replace("/api/v2/write?", "/write?").replace("bucket=", "db=")
    kept = {name: value for name, value in headers.items() if name in ("content-encoding", "content-type")}
    answer = await client.request(method, behind + target, headers=kept, content=body)
    lines = [f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items() if name.startswith(("x-", "content-type"))]
    if answer.status_code != 204:
        lines.append(f"content-length: {len(answer.content)}")
    return "\r\n".join([*lines, "", ""]).encode() + answer.content
