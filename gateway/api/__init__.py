"""The local HTTP API: what people, dashboards and the page look at. It reads; it commands nothing.

In: the Board, the Health counters, the Journal's numbers. Out: JSON and Prometheus text. Nothing here is on the way
of a value.
"""

from gateway.api.app import make_api
from gateway.api.server import serve_api

__all__ = ["make_api", "serve_api"]
