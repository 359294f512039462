"""Who may ask: everyone with the token, or, where none is set, this machine alone.

Without a token the ``Host`` header must name this machine too. Otherwise a page of a foreign site, open in a browser
on this machine, could point its own name at 127.0.0.1 and read the API (DNS rebinding). For requests that change
something also ``Origin`` must be this very API or absent: such a page may send them without reading the answer (CSRF).
"""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api.answers import answer

READING = frozenset({"GET", "HEAD"})
OPEN_PATHS = frozenset({"/healthz"})  # says only that the process is alive


class Access:
    """ASGI middleware that lets a request in or answers 401 or 403."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token.encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._token is not None:
            if _carries(headers.get("authorization", ""), self._token):
                await self._app(scope, receive, send)
                return
            refusal = answer(
                {"error": "this needs the header Authorization: Bearer with the token of the API"},
                status=401,
                headers={"www-authenticate": "Bearer"},
            )
        else:
            client = scope.get("client")
            at_home = client and is_loopback(client[0]) and is_loopback(_host_name(headers.get("host", "")))
            if at_home and (scope["method"] in READING or _same_origin(headers)):
                await self._app(scope, receive, send)
                return
            refusal = answer(
                {"error": "no token is set for the API, so it answers only this machine, asked as localhost"},
                status=403,
            )
        await refusal(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.8", "::1", "::ffff:127.0.0.1", "0.0.0.0", "evil.example")]
    [True, True, True, True, False, False]
    """
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _carries(authorization: str, token: bytes) -> bool:
    scheme, _, credential = authorization.partition(" ")
    # the length of the token may show in the time this takes, its content does not
    return scheme.lower() == "bearer" and hmac.compare_digest(credential.strip().encode("latin-1", "replace"), token)


def _same_origin(headers: Headers) -> bool:
    """Whether no page of another origin sent it; programs send no Origin at all."""
    origin = headers.get("origin")
    return origin is None or origin == f"http://{headers.get('host', '')}"


def _host_name(host: str) -> str:
    """The name in a Host header, without port.

    >>> _host_name("localhost:8080"), _host_name("[::1]:80"), _host_name("a b"), _host_name("[")
    ('localhost', '::1', 'a b', '')
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
