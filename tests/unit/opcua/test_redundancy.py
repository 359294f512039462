"""Which server of a redundant set is taken, and what is said when none is: no sockets."""

from __future__ import annotations

import pytest

from drivers.opcua import redundancy
from drivers.opcua.failures import Peer
from drivers.opcua.options import OpcUa
from drivers.opcua.redundancy import Servers
from gateway.core.errors import DriverError, Refused, Unavailable
from tests.support.opcua_lines import PLANT, make_link

DEVICES = {"reactor": [{"name": "pressure", "node": f"nsu={PLANT};s=Pressure"}]}


class _Session:
    def __init__(self, endpoint: str, level: int, closed: list[str]) -> None:
        self.peer, self.service_level, self._closed = Peer("plc", endpoint), level, closed

    async def close(self) -> None:
        self._closed.append(self.peer.endpoint[-1])


class Set:
    """The servers a, b and c; each has a level, or an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **says: int | BaseException) -> None:
        self.says, self.asked, self.closed = says, "", list[str]()
        link = make_link(1, DEVICES, endpoint="opc.tcp://a", also=("opc.tcp://b", "opc.tcp://c"))
        assert isinstance(link.options, OpcUa)
        monkeypatch.setattr(redundancy, "open_session", self._open)
        self.servers = Servers("plc", link.options)

    async def _open(self, link: str, options: OpcUa) -> _Session:
        name = options.endpoint[-1]
        self.asked += name
        said = self.says[name]
        if isinstance(said, BaseException):
            raise said
        return _Session(options.endpoint, said, self.closed)

    async def open(self) -> str:
        return (await self.servers.open()).peer.endpoint[-1]


async def test_the_first_healthy_one_is_taken_and_the_search_goes_on_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plant = Set(monkeypatch, a=255, b=200, c=200)
    assert [await plant.open() for _ in range(4)] == ["a", "b", "c", "a"]
    assert (plant.asked, plant.closed) == ("abca", [])


async def test_of_those_that_are_not_healthy_the_best_is_kept_and_the_others_are_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant = Set(monkeypatch, a=10, b=199, c=50)
    assert await plant.open() == "b"
    assert (plant.asked, sorted(plant.closed)) == ("abc", ["a", "c"])


async def test_nothing_stays_open_where_the_search_ends_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    plant = Set(monkeypatch, a=10, b=ZeroDivisionError(), c=255)
    with pytest.raises(ZeroDivisionError):
        await plant.open()
    assert plant.closed == ["a"]


@pytest.mark.parametrize(
    ("errors", "kind", "slow"),
    [
        ((Unavailable("1"), Refused("2"), Refused("3")), Unavailable, None),
        ((Refused("1"), Refused("2"), Refused("3")), Refused, True),
        ((Refused("1"), Refused("2", slow=False), Refused("3")), Refused, False),
    ],
)
async def test_what_all_say_is_one_error(
    monkeypatch: pytest.MonkeyPatch, errors: tuple[DriverError, ...], kind: type[DriverError], slow: bool | None
) -> None:
    plant = Set(monkeypatch, **dict(zip("abc", errors, strict=True)))
    with pytest.raises(DriverError, match="1; 2; 3") as caught:
        await plant.open()
    assert type(caught.value) is kind
    assert getattr(caught.value, "slow", None) == slow
