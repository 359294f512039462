"""An HTTP server that answers each request as a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.support.tcp import listening


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # unpacked where it came gzipped
    raw: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say; ``silent``: nothing, and keep the connection open; ``hang_up``: close it instead."""

    status: int = 204
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    hang_up: bool = False


@dataclass(slots=True)
class ScriptedHttp:
    """``answer`` decides; ``asked`` is everything that was asked for, pings left out."""

    answer: Callable[[Asked], Answer] = lambda asked: Answer()
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lines(self) -> list[bytes]:
        """Every line of every write, in order."""
        return [line for asked in self.asked for line in asked.body.splitlines(keepends=True)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked = await _request(reader)
            if asked.path == "/ping":
                answer = Answer()
            else:
                self.asked.append(asked)
                answer = self.answer(asked)
            if answer.hang_up:
                return
            if answer.silent:
                await reader.read()
                return
            body = answer.body.encode()
            headers = {"Content-Type": "application/json", **answer.headers, "Content-Length": str(len(body))}
            if answer.status == 204:
                del headers["Content-Length"]
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"HTTP/1.1 {answer.status} Scripted\r\n{head}\r\n".encode() + body)


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    body = gzip.decompress(raw) if headers.get("content-encoding") == "gzip" else raw
    parts = urlsplit(target)
    return Asked(method, parts.path, parse_qs(parts.query), headers, body, raw)


@contextlib.asynccontextmanager
async def scripted_http() -> AsyncIterator[ScriptedHttp]:
    """Listening on a port of the loopback interface."""
    scripted = ScriptedHttp()
    async with listening(scripted.serve) as scripted.port:
        yield scripted
