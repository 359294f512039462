"""Serves the API inside the gateway's own event loop, and stops when its task is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from gateway.core.errors import GatewayError

log = logging.getLogger(__name__)

STOP_S = 2  # open requests get this long; without it an open stream would keep uvicorn for ever


async def serve_api(app: ASGIApp, host: str, port: int, *, listening: Callable[[str, int], None] | None = None) -> None:
    """Serve until cancelled, then stop within about 2 s.

    ``listening`` is called once with the host and the port, which the system chooses where ``port`` is 0.
    Raises GatewayError where it cannot listen there.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,  # gateway.logs decides
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]), name="api-server")
    actual_port = listener.getsockname()[1]
    log.info("the API listens on http://%s:%d", f"[{host}]" if ":" in host else host, actual_port)
    if listening:
        listening(host, actual_port)
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """uvicorn without its hands on the signals of the process: those are the gateway's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Made here because uvicorn ends the whole process when it cannot have one."""
    try:
        [info, *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = info
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise GatewayError(f"the API cannot listen on {host}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        hint = (
            "another program has that port; set api.port"
            if error.errno == errno.EADDRINUSE
            else error.strerror or str(error)
        )
        raise GatewayError(f"the API cannot listen on {host}:{port}: {hint}") from error
    return listener
