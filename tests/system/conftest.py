"""Servers that many system tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.opcua_foreign import SharedServer, shared_server


@pytest.fixture(scope="session")
def server() -> Iterator[SharedServer]:
    """A node-opcua server, which takes seconds to start, for the tests that leave it as it is."""
    with shared_server(counters=1000, counting=20, missing=[17, 500]) as server:
        yield server
