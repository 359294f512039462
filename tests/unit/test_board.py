from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.board import LiveBoard
from gateway.core.contracts import Board
from gateway.core.model import Scan
from gateway.core.quality import Status
from gateway.health import State
from gateway.normalise import Normaliser
from tests.support.devices import NOW_NS, device, scan, tag

TWO = device(tag("a", low=0, high=10), tag("b", low=0, high=10))


def test_before_the_first_value_every_tag_waits() -> None:
    board: Board = LiveBoard([TWO])
    assert list(board.newest(TWO).rows) == [(None, Status.BAD_WAITING_FOR_INITIAL_DATA, 0)] * 2


def test_the_newest_value_of_each_tag_wins_whatever_it_came_with() -> None:
    board, normaliser = LiveBoard([TWO]), Normaliser(TWO, "b")

    def put(index: tuple[int, ...], values: tuple[float, ...], time_ns: int) -> None:
        batch = normaliser(Scan(TWO, index, values, None, time_ns, time_ns))
        assert batch
        board.put(TWO, batch)

    put((0, 1), (1.0, 2.0), NOW_NS)
    put((1,), (3.0,), NOW_NS + 1)
    assert list(board.newest(TWO).values) == [1.0, 3.0]
    put((0, 1), (4.0, 5.0), NOW_NS + 2)
    assert list(board.newest(TWO).rows) == [(4.0, 0, NOW_NS + 2), (5.0, 0, NOW_NS + 2)]
    for i in range(300):  # ever the same two selections in turn, and many of them
        put((i % 2,), (i / 100,), NOW_NS + 10 + i)
    assert list(board.newest(TWO).values) == [2.98, 2.99]


def test_ever_new_selections_do_not_pile_up() -> None:
    wide = device(*(tag(f"t{i}") for i in range(200)))
    board, normaliser = LiveBoard([wide]), Normaliser(wide, "b")
    for i in range(199):
        batch = normaliser(Scan(wide, (i, i + 1), (float(i), float(i)), None, NOW_NS + i, NOW_NS + i))
        assert batch
        board.put(wide, batch)
    assert len(board.states()[0].batches) <= 64
    assert list(board.newest(wide).values) == [*map(float, range(199)), 198.0]


async def test_a_change_of_quality_or_state_is_urgent_a_new_value_is_not() -> None:
    board, normaliser = LiveBoard([TWO]), Normaliser(TWO, "b")

    def put(*values: float, time_ns: int) -> None:
        batch = normaliser(scan(TWO, *values, time_ns=time_ns))
        assert batch
        board.put(TWO, batch)

    put(1.0, 1.0, time_ns=NOW_NS)
    before = board.urgency(TWO)
    put(2.0, 1.0, time_ns=NOW_NS + 1)
    assert board.urgency(TWO) == before
    assert board.version(TWO) == 2

    waiting = asyncio.create_task(board.changed())
    await asyncio.sleep(0)
    put(2.0, 11.0, time_ns=NOW_NS + 2)
    await waiting
    assert board.urgency(TWO) > before

    before = board.urgency(TWO)
    board.set_state(TWO, State.OFFLINE, "gone", NOW_NS)
    assert board.urgency(TWO) > before
    [entry] = board.states()
    assert (entry.state, entry.error, entry.since_ns) == ("offline", "gone", NOW_NS)


def test_after_a_reload_what_is_equal_stays_and_a_changed_device_keeps_what_its_old_tags_said() -> None:
    other, wider = device(id="other"), device(*TWO.tags, tag("c"))
    board, normaliser = LiveBoard([TWO, other]), Normaliser(TWO, "b")
    batch = normaliser(scan(TWO, 1.0, 2.0))
    assert batch
    board.put(TWO, batch)
    board.set_state(TWO, State.ONLINE, "", NOW_NS)
    before, version, urgency = board.states()[1], board.version(TWO), board.urgency(TWO)

    added = device(id="added")
    board.configure([added, device(id="other"), wider])
    assert [entry.device.id for entry in board.states()] == ["added", "other", "jacket"]
    assert board.states()[1] is before
    assert list(board.newest(wider).values) == [1.0, 2.0, None]
    assert board.states()[2].state is State.ONLINE
    assert board.version(wider) > version
    assert board.urgency(wider) > urgency

    board.configure([other])
    assert [entry.device.id for entry in board.states()] == ["other"]


def test_a_device_that_a_reload_switches_off_shows_no_old_values() -> None:
    board, normaliser = LiveBoard([TWO]), Normaliser(TWO, "b")
    batch = normaliser(scan(TWO, 1.0, 2.0))
    assert batch
    board.put(TWO, batch)
    off = device(*TWO.tags, enabled=False)
    board.configure([off])
    assert list(board.newest(off).rows) == [(None, Status.BAD_OUT_OF_SERVICE, 0)] * 2


def test_what_a_device_says_of_itself_holds_until_it_is_configured_otherwise() -> None:
    board, normaliser = LiveBoard([TWO]), Normaliser(TWO, "b")
    batch = normaliser(scan(TWO, 1.0, 2.0, time_ns=NOW_NS))
    assert batch
    board.put(TWO, batch)
    taught = replace(TWO, tags=(TWO.tags[0], replace(TWO.tags[1], unit="bar")))
    urgency = board.urgency(TWO)
    board.learn(taught)
    assert board.urgency(taught) > urgency
    assert [entry.device for entry in board.states()] == [taught]
    assert list(board.newest(taught).rows) == [
        (1.0, 0, NOW_NS),
        (None, Status.BAD_WAITING_FOR_INITIAL_DATA, 0),
    ], "the number was not said in bar"
    board.configure([TWO])
    assert [entry.device for entry in board.states()] == [taught]
    other = replace(TWO, equipment="R101")
    board.configure([other])
    assert [entry.device for entry in board.states()] == [other]
