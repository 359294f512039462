"""``POST /api/v1/reload``: have the configuration read again.

200 with what changed, by kind: names added, removed, changed; ``needs_restart`` holds a sentence for everything that
keeps its old value until then. 422 with every mistake where the files cannot be used: the old configuration stays in
force. It changes nothing that was not in the files already, so whoever may read may also ask for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.answers import answer
from gateway.core.errors import ConfigError

Reload = Callable[[], Awaitable[Mapping[str, Any]]]
"""What changed, as JSON; raises ConfigError."""


def reload_route(reload: Reload) -> Route:
    """The route."""

    async def post(_: Request) -> Response:
        try:
            changed = await reload()
        except ConfigError as error:
            sentence = "the configuration is wrong; the one before stays in force"
            return answer({"error": sentence, "mistakes": [asdict(each) for each in error.mistakes]}, status=422)
        return answer(changed)

    return Route("/api/v1/reload", post, methods=["POST"])
