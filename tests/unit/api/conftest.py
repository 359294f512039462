"""A gateway's insides as the API sees them, at rest: one link, two devices, one sink."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gateway.api import make_api
from gateway.board import LiveBoard
from gateway.core.contracts import Count, Cursor, CursorStats, JournalStats
from gateway.core.errors import ConfigError, Mistake
from gateway.core.model import Batch, Column, Device, Kind, Link, Shape, Source, Tag, Value
from gateway.core.text import render
from gateway.health import Health, LinkHealth, SinkHealth, State

NOW_NS = 1_763_800_000_500_000_000
THEN_NS = NOW_NS - 500_000_000


NUMBERS = JournalStats(
    accepted_records=46,
    accepted_readings=460,
    bytes=8192,
    max_bytes=1 << 30,
    oldest_time_ns=NOW_NS - 60_000_000_000,
    dropped_records={"mqtt": 2},
    dropped_readings={"mqtt": 20},
    lost_records=1,
    lost_readings=10,
    error="",
    cursors={"mqtt": CursorStats(Count(46, 460), Count(40, 400), Count(3, 30), Count(2, 20), Count(1, 10))},
    commits=12,
)


class FixedClock:
    """A clock that stands."""

    def time_ns(self) -> int:
        return NOW_NS

    def monotonic_ns(self) -> int:
        return 0

    async def sleep_until(self, monotonic_ns: int) -> None:
        raise AssertionError("the API does not wait")


@dataclass
class FakeJournal:
    """The numbers of a journal."""

    numbers: JournalStats = NUMBERS

    def stats(self) -> JournalStats:
        return self.numbers

    def fail(self, error: str) -> None:
        self.numbers = replace(self.numbers, error=error)

    def cursor(self, name: str) -> Cursor:
        raise AssertionError("the API needs no cursor")

    async def open(self) -> None: ...
    def append(self, batch: Batch) -> None: ...
    async def flush(self) -> None: ...
    def retain(self, names: Sequence[str]) -> None: ...
    async def close(self) -> None: ...


def _device(name: str, address: int) -> Device:
    return Device(
        site="wuxi",
        line="pl1",
        id=name,
        tags=(
            Tag("temperature", Kind.FLOAT, None, unit="Cel", low=0, high=250, names={"zh": "温度"}),
            Tag("counter", Kind.INT, None, wrap=1e6, enum={10: "full", 0: "empty"}, bits={3: "hot"}),
        ),
        options=SimpleNamespace(address=address),
        area="hall-2",
    )


@dataclass
class Insides:
    """What the API is made from."""

    devices: tuple[Device, ...] = (_device("jacket", 2), _device("reactor", 3))
    journal: FakeJournal = field(default_factory=FakeJournal)
    mistakes: tuple[Mistake, ...] = ()  # of the configuration, when it is read again
    reloads: int = 0
    health: Health = field(init=False)
    board: LiveBoard = field(init=False)

    def __post_init__(self) -> None:
        self.board = LiveBoard(self.devices)
        self.health = Health(
            gateway="gw1",
            boot="9f3a11c2",
            version="1.2.3",
            started_ns=NOW_NS - 90_000_000_000,
            links={"bus": LinkHealth("bus", "modbus-tcp", State.ONLINE, THEN_NS, connects=1, scans=5, readings=10)},
            sinks={
                "mqtt": SinkHealth("mqtt", "mqtt", State.ONLINE, writes=38, delivered_records=9, delivered_readings=90)
            },
        )

    async def reload(self) -> Mapping[str, Any]:
        self.reloads += 1
        if self.mistakes:
            raise ConfigError(self.mistakes)
        return {"links": {"added": ["bus2"], "removed": [], "changed": []}}

    def put(self, device: Device, values: tuple[Value, ...], status: tuple[int, ...] | None = None) -> None:
        source = Source("wuxi", "pl1", device.id, tuple(Column(t.name, t.kind, t.unit) for t in device.tags))
        self.board.put(
            device,
            Batch(
                shape=Shape(source, (0, 1)),
                values=values,
                text=render(values),
                status=status,
                time_ns=THEN_NS,
                received_ns=THEN_NS,
                seq=0,
                boot="9f3a11c2",
            ),
        )

    def client(self, token: str | None = None, address: str = "127.0.0.1") -> httpx.AsyncClient:
        link = Link("bus", "modbus-tcp", self.devices, SimpleNamespace(host="10.0.0.7", port=502))
        app = make_api(
            self.board,
            self.health,
            self.journal,
            token=token,
            links=lambda: (link,),
            plaintext=lambda: ("link bus: Modbus TCP is not encrypted",),
            reload=self.reload,
            clock=FixedClock(),
        )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 50_000))
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")


@pytest.fixture
def insides() -> Insides:
    return Insides()


@pytest.fixture
async def api(insides: Insides) -> AsyncIterator[httpx.AsyncClient]:
    async with insides.client() as client:
        yield client
