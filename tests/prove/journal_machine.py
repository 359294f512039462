"""The journal against a list: anything may happen in any order, and every account stays exact.

On request: ``PROVE_JOURNAL_EXAMPLES=1000 python -m pytest tests/prove/journal_machine.py`` (50 steps each).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.core.clock import SystemClock
from gateway.core.contracts import Count
from gateway.core.model import Batch
from gateway.journal.rows import Standing, WhenFull, Work
from gateway.journal.sqlite import SqliteJournal
from gateway.journal.store import MIN_BYTES
from tests.contract.journal import assert_conserved, take_or_nothing
from tests.support.journal_batches import batch

EXAMPLES = int(os.environ.get("PROVE_JOURNAL_EXAMPLES", "8"))
NAMES = ("mqtt", "influxdb")

T = TypeVar("T")


class JournalMachine(RuleBasedStateMachine):
    """``accepted`` is the model: position → batch. ``gone`` are positions that damage took."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="journal-machine-"))
        self.directory = self.root / "0"
        self.accepted: list[Batch] = []
        self.waiting: list[Batch] = []
        self.gone: set[int] = set()
        self.places: dict[str, int] = {}  # by cursor: the first record that is not finished
        self.dead: dict[str, int] = {}
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

    @rule(count=st.integers(1, 30), size=st.sampled_from((1, 3, 3, 3, 2000)))
    def append(self, count: int, size: int) -> None:
        for _ in range(count):
            self.seq += 1
            # digits that do not compress, so that a few of these fill the journal
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
            self.places[name], self.dead[name] = cursor.position, 0

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
        copy = self.root / str(int(self.directory.name) + 1)
        shutil.copytree(self.directory, copy)
        self.run(self.journal.close())
        shutil.rmtree(self.directory)
        self.directory = copy
        self._open()
        self._agree(exactly=False)

    @rule(which=st.integers(0, 10**6), bit=st.integers(0, 7), where=st.floats(0, 0.99))
    def rot(self, which: int, bit: int, where: float) -> None:
        """One bit of one row changes while nobody looks."""
        self._close()
        db = sqlite3.connect(self.directory / "journal.db", isolation_level=None)
        rows = db.execute("SELECT first_record, records, blob FROM commit_group ORDER BY first_record").fetchall()
        rows = [row for row in rows if row[0] not in self.gone]  # the same bit twice would mend it
        if rows:
            first, records, blob = rows[which % len(rows)]
            raw = bytearray(blob)
            raw[int(len(raw) * where)] ^= 1 << bit
            db.execute("UPDATE commit_group SET blob = ? WHERE first_record = ?", (bytes(raw), first))
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
            elif known is not None:
                assert place <= known
            self.places[name] = place
            self.dead[name] = stats.cursors[name].dead.records

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
            assert_conserved(self.journal)
            for name, cursor in self.journal.stats().cursors.items():
                finished = cursor.delivered + cursor.dead + cursor.dropped + cursor.pending
                assert finished.records <= len(self.accepted) + len(self.committed), name
                dropped_for = set(cursor.dropped_by)
                allowed = {WhenFull.DROP_NEWEST: {"damaged"}, WhenFull.THIN: {"full", "thinned", "damaged"}}
                assert dropped_for <= allowed.get(self.when_full, {"full", "damaged"}), name
                assert cursor.pending.records == 0 or cursor.pending.readings > 0, name

    @invariant()
    def within_its_bytes(self) -> None:
        assert sum(path.stat().st_size for path in self.directory.iterdir()) <= MIN_BYTES

    @invariant()
    def counts_readings(self) -> None:
        if hasattr(self, "journal"):
            head = self.journal.head
            accepted = (self.accepted + self.committed)[: head.records]
            assert head == Count(len(accepted), sum(len(each.values) for each in accepted))


JournalMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    derandomize="PROVE_JOURNAL_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
TestJournalMachine = JournalMachine.TestCase
