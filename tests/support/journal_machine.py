"""The journal against a list: anything may happen in any order, and every account stays exact.

Steps: append, commit, take and acknowledge per sink, dead letters, restart, crash, power cut, a full journal under each
policy, rotten bits, sinks that come and go. ``mutants`` are journals that are wrong on purpose.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gateway.core.clock import SystemClock
from gateway.core.contracts import Count, Gap
from gateway.core.model import Batch
from gateway.core.text import render
from gateway.journal import codec, tables
from gateway.journal.cursor import JournalCursor
from gateway.journal.room import Room
from gateway.journal.rows import CursorState, Standing, WhenFull, Work
from gateway.journal.sqlite import SqliteJournal
from gateway.journal.store import MIN_BYTES
from tests.contract.journal import assert_conserved, take_or_nothing
from tests.support.journal_batches import batch

STEPS = 50  # of one example
NAMES = ("mqtt", "influxdb")

T = TypeVar("T")


class JournalMachine(RuleBasedStateMachine):
    """``accepted`` is the model: position → batch. ``gone`` are positions that damage took."""

    steps: ClassVar[int] = 0  # of all examples; see run_machine

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="journal-machine-"))
        self.directory = self.root / "0"
        self.accepted: list[Batch] = []
        self.waiting: list[Batch] = []
        self.gone: set[int] = set()
        self.places: dict[str, int] = {}  # by cursor: the first record that is not finished
        self.dead: dict[str, int] = {}  # by cursor, in records, as what follows
        self.delivered: dict[str, int] = {}
        self.marks: list[bytes] = []  # every content of the high-water mark in this directory, oldest first
        self.windows: dict[str, list[Batch]] = {}
        self.seq = 0
        self.committed: list[Batch] = []  # since the last flush
        self.refused = Count()

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(step, 20))

    def teardown(self) -> None:
        self.run(self.journal.close())
        self.loop.close()
        shutil.rmtree(self.root)

    @initialize(tail_bytes=st.sampled_from((0, 1 << 20)), when_full=st.sampled_from(list(WhenFull)))
    def open(self, tail_bytes: int, when_full: WhenFull) -> None:
        self.tail_bytes = tail_bytes
        self.when_full = when_full
        self._open()
        self.make_cursor(NAMES[0])

    def _open(self) -> None:
        self.journal = SqliteJournal(
            self.directory,
            SystemClock(),
            MIN_BYTES,
            commit_interval_s=0.002,
            tail_bytes=self.tail_bytes,
            when_full=self.when_full,
        )
        self.run(self.journal.open())
        accept = self.journal._accepted

        def accepted(work: Work, standing: Standing) -> None:
            accept(work, standing)
            self.committed += () if standing.refused.records else work.batches
            self.refused += standing.refused

        self.journal._accepted = accepted  # type: ignore[method-assign]  # to see which groups were refused
        self.windows = {}

    # ------------------------------------------------------------------------------------------------ steps

    @rule(count=st.integers(1, 30), size=st.sampled_from((1, 3, 3, 2000)))
    def append(self, count: int, size: int) -> None:
        for _ in range(count):
            self.seq += 1
            # digits that do not compress, so that a few large ones fill the journal
            values = tuple(float((self.seq * 2654435761 + i * 40503) % 1_000_003) / 7 for i in range(size))
            self.waiting.append(batch(self.seq, values))
            self.journal.append(self.waiting[-1])

    @rule()
    def flush(self) -> None:
        self.run(self.journal.flush())
        self._count_committed()
        assert self.journal.stats().accepted_records == len(self.accepted)

    @rule(name=st.sampled_from(NAMES))
    def make_cursor(self, name: str) -> None:
        if name not in self.places:
            self._settle()
            cursor = self.journal.cursor(name)
            assert cursor.position == self.journal.floor.records
            self.run(self.journal.store_decision())  # else a crash may bring back the last one of this name
            self.places[name], self.dead[name], self.delivered[name] = cursor.position, 0, 0

    @rule(name=st.sampled_from(NAMES))
    def forget_cursor(self, name: str) -> None:
        self.places.pop(name, None)
        self.windows.pop(name, None)
        self.journal.retain(list(self.places))

    # what is drawn must not depend on how the journal cut its groups, which is a matter of time: hypothesis replays it

    @rule(name=st.sampled_from(NAMES), records=st.integers(1, 50))
    def take(self, name: str, records: int) -> None:
        self._settle()
        if name not in self.places:
            return
        cursor = self.journal.cursor(name)
        if not cursor.pending:
            return
        window = list(self.run(take_or_nothing(cursor, records)))
        position = cursor.position
        self._skip(name, position)
        assert len(window) <= records
        if self.when_full is WhenFull.THIN:
            positions = self._positions(window)
            assert positions == sorted(set(positions))
            assert not positions or positions[0] >= position
            assert window == [self.accepted[i] for i in positions]
            assert not self.gone.intersection(positions)
        else:
            assert window == self.accepted[position : position + len(window)]
            assert not self.gone.intersection(range(position, position + len(window)))
        self.windows[name] = window

    @rule(name=st.sampled_from(NAMES), some=st.integers(0, 50), letters=st.sets(st.integers(0, 49), max_size=3))
    def commit(self, name: str, some: int, letters: set[int]) -> None:
        window = self.windows.get(name, [])
        if not window:
            return
        count = min(some, len(window))
        refused = {letter for letter in letters if letter < count}
        self.journal.cursor(name).commit(count, [(window[i], "refused") for i in refused])
        if self.when_full is WhenFull.THIN:
            self.places[name] = self.journal.cursor(name).position
        else:
            self.places[name] += count
        self.dead[name] += len(refused)
        self.delivered[name] += count - len(refused)
        self.windows[name] = window[count:]

    @rule()
    def restart(self) -> None:
        self._close()
        self._open()
        self._agree(exactly=True)

    @rule()
    def crash(self) -> None:
        """Whatever is on the disk at this moment is what the next process finds."""
        self._settle()
        self._leave_behind()
        self._open()
        self._agree(exactly=False)

    @rule(which=st.integers(0, 10**6), torn=st.binary(max_size=3000))
    def power_cut(self, which: int, torn: bytes) -> None:
        """As a crash, but the mark is an older one, and of the next commit only a part has reached the WAL."""
        self._settle()
        self.marks.append((self.directory / "high-water").read_bytes())
        self._leave_behind()
        (self.directory / "high-water").write_bytes(self.marks[which % len(self.marks)])
        with (self.directory / "journal.db-wal").open("ab") as wal:
            wal.write(torn)
        self._open()
        self._agree(exactly=False)

    def _leave_behind(self) -> None:
        """The directory as it is now becomes the one that is opened next."""
        copy = self.root / str(int(self.directory.name) + 1)
        shutil.copytree(self.directory, copy)
        self.run(self.journal.close())
        shutil.rmtree(self.directory)
        self.directory = copy

    @rule(
        which=st.integers(0, 10**6),
        how=st.lists(st.none() | st.tuples(st.floats(0, 0.99), st.integers(0, 7)), max_size=8),
    )
    def rot(self, which: int, how: list[tuple[float, int] | None]) -> None:
        """Some consecutive rows change while nobody looks: one bit, or (None) so that they still make sense."""
        self._close()
        db = sqlite3.connect(self.directory / "journal.db", isolation_level=None)
        rows = db.execute("SELECT first_record, records, blob FROM commit_group ORDER BY first_record").fetchall()
        rows = [row for row in rows if row[0] not in self.gone]  # the same bit twice would mend it
        begin = which % len(rows) if rows else 0
        for (first, records, blob), place in zip(rows[begin:], how, strict=False):
            raw = _another_value(db, blob) if place is None else _another_bit(blob, *place)
            db.execute("UPDATE commit_group SET blob = ? WHERE first_record = ?", (raw, first))
            self.gone.update(range(first, first + records))
        db.close()
        self._open()
        self._agree(exactly=True)

    # ----------------------------------------------------------------------------------------------- checks

    def _count_committed(self) -> None:
        if self.when_full is not WhenFull.DROP_NEWEST:
            assert [each.seq for each in self.committed] == [each.seq for each in self.waiting]
        self.accepted += self.committed
        self.committed, self.waiting = [], []

    def _settle(self) -> None:
        self.flush()

    def _close(self) -> None:
        self.run(self.journal.close())
        self._count_committed()

    def _agree(self, *, exactly: bool) -> None:
        """After opening: all that was accepted is there, the cursors stand where they stood, or before."""
        stats = self.journal.stats()
        assert stats.accepted_records == len(self.accepted)
        assert stats.lost_records <= self.refused.records if not exactly else stats.lost_records == self.refused.records
        if exactly:
            assert set(stats.cursors) == set(self.places)
        for name in NAMES:
            if name not in stats.cursors:
                self.places.pop(name, None)
                continue
            cursor = self.journal.cursor(name)
            place, known = cursor.state().place.records, self.places.get(name)
            if exactly:
                assert known is not None
                self._skip(name, place)
                assert stats.cursors[name].dead.records == self.dead[name]
                assert stats.cursors[name].delivered.records == self.delivered[name]
            elif known is not None:
                assert place <= known
            self.places[name] = place
            self.dead[name] = stats.cursors[name].dead.records
            self.delivered[name] = stats.cursors[name].delivered.records

    def _positions(self, window: list[Batch]) -> list[int]:
        by_seq = {each.seq: i for i, each in enumerate(self.accepted)}
        return [by_seq[each.seq] for each in window]

    def _skip(self, name: str, position: int) -> None:
        """What a cursor leaps over was damaged or dropped."""
        floor = self.journal.floor.records
        leapt = [i for i in range(self.places[name], position) if i >= floor and i not in self.gone]
        assert self.when_full is WhenFull.THIN or not leapt, f"{name} was not given {leapt}"
        assert position >= self.places[name]
        self.places[name] = position

    @invariant()
    def conserved(self) -> None:
        if hasattr(self, "journal"):
            JournalMachine.steps += 1
            assert_conserved(self.journal)
            for name, cursor in self.journal.stats().cursors.items():
                assert cursor.delivered.records == self.delivered[name], name
                finished = cursor.delivered + cursor.dead + cursor.dropped + cursor.pending
                assert finished.records <= len(self.accepted) + len(self.committed), name
                dropped_for = set(cursor.dropped_by)
                allowed = {WhenFull.DROP_NEWEST: {"damaged"}, WhenFull.THIN: {"full", "thinned", "damaged"}}
                assert dropped_for <= allowed.get(self.when_full, {"full", "damaged"}), name
                assert cursor.pending.records == 0 or cursor.pending.readings > 0, name

    @invariant()
    def within_its_bytes(self) -> None:
        sizes = {path.name: path.stat().st_size for path in self.directory.iterdir()}
        assert sum(sizes.values()) <= MIN_BYTES, sizes

    @invariant()
    def counts_readings(self) -> None:
        if hasattr(self, "journal"):
            head = self.journal.head
            accepted = (self.accepted + self.committed)[: head.records]
            assert head == Count(len(accepted), sum(len(each.values) for each in accepted))


def _another_bit(blob: bytes, where: float, bit: int) -> bytes:
    raw = bytearray(blob)
    raw[int(len(raw) * where)] ^= 1 << bit
    return bytes(raw)


def _another_value(db: sqlite3.Connection, blob: bytes) -> bytes:
    """The worst that rot can do: everything can be read, and one value is wrong."""
    sources = codec.Sources()
    for number, source in tables.read_sources(db):
        sources.add(number, source)
    (first, *rest), holes = codec.decode_thinned(blob, sources)
    values = (-1.5, *first.values[1:])
    return codec.encode([replace(first, values=values, text=render(values)), *rest], sources, holes)


def run_machine(examples: int, *, search: bool = True, shrink: bool = True) -> int:
    """So many examples of at most STEPS steps; how many steps it were. Not ``search``: the same ones every time.

    Raises what the first example raised that failed.
    """
    JournalMachine.steps = 0
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    limits = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=not search,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(JournalMachine, settings=limits)
    return JournalMachine.steps


# ------------------------------------------------------------------------------------------------ wrong journals


def _no_checksum(row: tables.Row, blob: bytes) -> int:
    return row.blob_crc


def _state_of_all_taken(cursor: JournalCursor) -> CursorState:
    state, size = _STATE(cursor), cursor._held_end - cursor._place
    return replace(state, place=state.place + size, delivered=state.delivered + size)


async def _take_and_store(cursor: JournalCursor, records: int, readings: int) -> Sequence[Batch]:
    window = await _TAKE(cursor, records, readings)
    cursor._records.moved((), ())
    return window


def _room_without_end(room: Room, db: sqlite3.Connection, need: int, passed: int) -> bool:
    room.left = 1 << 40
    return False


def _one_too_few(cursor: JournalCursor, gap: Gap) -> None:
    _DROP(cursor, replace(gap, size=Count(gap.size.records - 1, gap.size.readings)))


_STATE, _TAKE, _DROP = JournalCursor.state, JournalCursor.take, JournalCursor._drop

MUTANTS: Mapping[str, Sequence[tuple[object, str, Callable[..., object]]]] = {
    "checksum not looked at": [(tables, "blob_crc", _no_checksum)],
    "cursor stored before the acknowledgement": [
        (JournalCursor, "state", _state_of_all_taken),
        (JournalCursor, "take", _take_and_store),
    ],
    "no account of the room": [(Room, "make", _room_without_end)],
    "one record of each drop not counted": [(JournalCursor, "_drop", _one_too_few)],
}
"""By what is wrong: what to replace by what."""


@contextmanager
def mutant(name: str) -> Iterator[None]:
    """The journal is wrong in this way."""
    with ExitStack() as stack:
        for where, attribute, wrong in MUTANTS[name]:
            stack.enter_context(patch.object(where, attribute, wrong))
        yield


def found(name: str, examples: int) -> str:
    """The error by which the machine finds this mutant, in one line; empty where it does not."""
    with mutant(name):
        try:
            run_machine(examples, shrink=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, it was found
            return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""
