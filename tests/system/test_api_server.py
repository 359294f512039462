"""The API on a real socket: starts, answers, says when it cannot have the port, stops when cancelled."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from gateway.api import serve_api
from gateway.core.errors import GatewayError

pytestmark = pytest.mark.system


async def _hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def _endless(_: Request) -> StreamingResponse:
    async def stream() -> AsyncIterator[bytes]:
        while True:
            yield b"."
            await asyncio.sleep(0.01)

    return StreamingResponse(stream())


APP = Starlette(routes=[Route("/", _hello), Route("/endless", _endless)])


async def _start() -> tuple[asyncio.Task[None], str]:
    there: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve_api(APP, "127.0.0.1", 0, listening=lambda host, port: there.set_result(f"http://{host}:{port}"))
    )
    return task, await asyncio.wait_for(there, 10)


async def test_serves_until_cancelled_and_leaves_the_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    task, url = await _start()
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).text == "hello"
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_an_open_stream_does_not_hold_it() -> None:
    task, url = await _start()
    async with httpx.AsyncClient() as client, client.stream("GET", f"{url}/endless") as stream:
        async for _ in stream.aiter_bytes():
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


async def test_a_port_already_taken_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(GatewayError, match=f"cannot listen on 127.0.0.1:{port}: another program has that port"):
            await serve_api(APP, "127.0.0.1", port)


async def test_an_address_that_is_not_ours_is_a_sentence() -> None:
    with pytest.raises(GatewayError, match="cannot listen on"):
        await serve_api(APP, "203.0.113.1", 0)
