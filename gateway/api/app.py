"""The routes of the API.

====================  =====================================================================================
``/healthz``          200 while the event loop runs; needs no token
``/readyz``           200 when the journal accepts and every link has been tried once, else 503 with reasons
``/metrics``          Prometheus (gateway.api.metrics)
``/api/v1/live``      newest values; ``?device=site/line/device`` (may be repeated) narrows
``/api/v1/devices``   every device with its tags, state and address
``/api/v1/status``    links, sinks, journal, configuration, clock, and what travels unprotected
``/api/v1/journal``   what it holds and what became of it; ``/records`` reads and checks it (api.desk)
``/api/v1/dead-…``    ``dead-letters``: GET, DELETE ``/{id}``, POST ``/{id}/resend`` (api.desk)
``/api/v1/reload``    POST: read the configuration again; what changed, or 422 with every mistake (api.reload)
====================  =====================================================================================

Errors are JSON with a sentence: ``{"error": "…"}``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api import views
from gateway.api.access import Access
from gateway.api.answers import answer
from gateway.api.desk import Desk, desk_routes
from gateway.api.metrics import GatewayCollector
from gateway.api.reload import Reload, reload_route
from gateway.core.clock import Clock, SystemClock
from gateway.core.contracts import Board, Journal, JournalDesk
from gateway.core.model import Link
from gateway.health import Health


def make_api(
    board: Board,
    health: Health,
    journal: Journal,
    *,
    token: str | None = None,
    links: Callable[[], Sequence[Link]] = tuple,
    plaintext: Callable[[], Sequence[str]] = tuple,
    reload: Reload | None = None,
    clock: Clock | None = None,
) -> Starlette:
    """The API as an ASGI application.

    ``token``: what ``Authorization: Bearer`` must carry; without one only this machine is served.
    ``links``: those configured now, to say where devices are. ``plaintext``: sentences about conversations anyone on
    the network can read. ``reload``: reads the configuration again.
    """
    clock = clock or SystemClock()
    registry = CollectorRegistry()
    registry.register(GatewayCollector(board, health, journal, clock))
    ProcessCollector(registry=registry)

    async def healthz(_: Request) -> Response:
        return answer({"status": "alive", "gateway": health.gateway, "version": health.version})

    async def readyz(_: Request) -> Response:
        reasons = views.not_ready(health, journal.stats())
        return answer({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    async def live(request: Request) -> Response:
        wanted = request.query_params.getlist("device")
        entries = board.states()
        if wanted:
            by_path = {entry.device.path: entry for entry in entries}
            unknown = [path for path in wanted if path not in by_path]
            if unknown:
                raise HTTPException(404, f"there is no device {unknown[0]}; /api/v1/devices lists them all")
            entries = [by_path[path] for path in dict.fromkeys(wanted)]
        return answer(views.live(board, entries, clock.time_ns()))

    async def devices(_: Request) -> Response:
        return answer(views.devices(board, links()))

    async def status(_: Request) -> Response:
        return answer(views.status(board, health, journal.stats(), links(), plaintext(), clock.time_ns()))

    changing = [reload_route(reload)] if reload else []
    desk = desk_routes(Desk(journal)) if isinstance(journal, JournalDesk) else []
    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/api/v1/live", live),
            Route("/api/v1/devices", devices),
            Route("/api/v1/status", status),
            *changing,
            *desk,
        ],
        middleware=[Middleware(Access, token=token)],
        exception_handlers={HTTPException: _refuse, 500: _failed},
    )


async def _refuse(request: Request, error: Exception) -> Response:
    code, detail, headers = 500, "", None
    if isinstance(error, HTTPException):
        code, detail, headers = error.status_code, error.detail, error.headers
    sentences = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.method} is not possible at {request.url.path}",
    }
    sentence = sentences.get(code, detail) if detail in ("Not Found", "Method Not Allowed") else detail
    return answer({"error": sentence}, status=code, headers=headers)


async def _failed(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this answer: uvicorn logs it, it is a bug
    return answer({"error": "this request failed inside the gateway; its log says more"}, status=500)
