"""The journal of a running gateway: group commit over a Store, seen from the event loop.

In: batches, one ``append`` each, which costs about a microsecond and nothing per value. Out: the same batches, in
order, to every cursor, once they are on the disk.

::

    append → waiting → group ──(thread: encode, compress, commit, fsync)──> tail → cursors
                         ^                                  │ cannot write
                         └────────── again in a second ─────┘

A commit starts as soon as the disk is free and nothing has arrived for ``commit_interval_s / 25`` (what arrives
together is gathered, for a quarter of the interval at most), and at most 22 times in a second (at 0.1 s): more would
cost processor time and wear flash. A batch waits at most ``commit_interval_s`` for its commit to start.

While the disk cannot be written, batches wait in memory, ``ring_bytes`` of them; then the oldest are lost and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gateway.core.clock import Clock
from gateway.core.contracts import Count, DeadLetter, Examined, Gap, JournalStats
from gateway.core.errors import JournalError
from gateway.core.model import Batch
from gateway.journal.cursor import JournalCursor
from gateway.journal.letters import LetterDesk
from gateway.journal.rows import (
    NOTHING,
    CursorState,
    Letter,
    Piece,
    Reason,
    Standing,
    Thinned,
    WhenFull,
    Work,
    size_of,
)
from gateway.journal.store import Store
from gateway.journal.tail import Tail, weight
from gateway.journal.worker import Worker

_log = logging.getLogger("gateway.journal")

GROUP_RECORDS = 500
_GROUP_TEXT = 1 << 20  # bytes of text in one group; a larger batch is a group of its own
_RETRY_S = 1.0
_CURSORS_S = 1.0  # how long a cursor's move may wait for a commit that has data
_CLOSE_S = 2.0
_LETTERS_KEPT = 10_000  # dead letters that wait for a disk that cannot be written


class SqliteJournal:
    """core.contracts.Journal on a local disk."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        max_bytes: int = 2_500_000_000,
        *,
        commit_interval_s: float = 0.1,
        history_s: float = 0.0,
        when_full: WhenFull = WhenFull.DROP_OLDEST,
        ring_bytes: int = 32 << 20,
        tail_bytes: int = 16 << 20,
    ) -> None:
        self.head = Count()
        self.floor = Count()
        self._store = Store(directory, clock, max_bytes=max_bytes, history_s=history_s, when_full=when_full)
        self._worker = Worker("journal")
        self._max_bytes = max_bytes
        self._quiet_s = commit_interval_s / 25
        self._gather_s = commit_interval_s / 4
        self._spacing_s = commit_interval_s * 0.45
        self._ring_bytes = ring_bytes
        self._loop: asyncio.AbstractEventLoop | None = None  # while open
        self._waiting: deque[Batch] = deque()
        self._waiting_bytes = 0
        self._appended = 0  # batches ever given to ``append``; numbers them for ``flush``
        self._group: tuple[Batch, ...] = ()  # being committed, or to be committed again
        self._group_end = 0  # number of the batch behind the group
        self._writing: asyncio.Future[Standing] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lazy = False  # the timer is for cursors alone: data need not wait for it
        self._earliest = 0.0  # loop time before which no commit starts
        self._appended_at = 0.0  # loop time
        self._gather_until = 0.0  # likewise: then a commit starts also while more is coming
        self._tail = Tail(tail_bytes)
        self._cursors: dict[str, JournalCursor] = {}
        self._letters: list[Letter] = []
        self._gaps: list[Gap] = []
        self._resent: list[int] = []  # dead letters on their way again
        self._settled: list[int] = []  # and those that are none any more
        self._moved = False  # something about cursors is not on the disk yet
        self._lost: dict[str, Count] = {}  # by reason
        self._losing = False
        self._error = ""  # why it cannot write
        self._full = False  # and refuses what is new
        self._standing = Standing(Count(), Count(), None, 0)
        self._commits = 0
        self._started = 0  # commits that were handed to the thread; numbers them
        self._done = 0  # the number of the newest one that succeeded
        self._desk = LetterDesk(self)
        self._bug: BaseException | None = None
        self._changed = asyncio.Event()  # replaced whenever it is set

    # ----------------------------------------------------------------------------------------------- contract

    async def open(self) -> None:
        """See core.contracts.Journal."""
        try:
            self._standing = await self._worker.run(self._store.open)
        except JournalError:
            self._worker.stop()
            raise
        self.head, self.floor = self._standing.head, self._standing.floor
        self._lost = dict(self._store.lost)
        self._cursors = {name: JournalCursor(self, state) for name, state in self._store.found.items()}
        again = await self.find_letters("WHERE id IN (SELECT letter FROM resend)")
        for name, cursor in self._cursors.items():
            cursor.resume([letter for letter in again if letter.cursor == name])
        self._loop = asyncio.get_running_loop()

    def append(self, batch: Batch) -> None:
        """See core.contracts.Journal."""
        self._appended += 1
        if self._loop is None:
            self._lose(batch, "closed", "the journal is closed")
            return
        if len(batch.text) > self._store.max_record:
            most = f"at most {self._store.max_record:,}, a sixteenth of its size"
            size = f"{len(batch.text):,} bytes of {batch.shape.source.device} in one reading"
            self._lose(batch, "too large", f"{size} are too large for the journal, which takes {most}")
            return
        self._waiting.append(batch)
        self._waiting_bytes += weight(batch)
        if self._waiting_bytes > self._ring_bytes:
            self._overflow()
        self._appended_at = self._loop.time()
        if self._writing is None and (self._timer is None or self._lazy):
            self._schedule(self._quiet_s)

    async def flush(self) -> None:
        """See core.contracts.Journal. Waits as long as the disk cannot be written; give it a deadline."""
        wanted = self._appended
        while self._first_unsettled() < wanted:
            if self._writing is None and not self._error:
                self._start()
            await self._change()

    def cursor(self, name: str) -> JournalCursor:
        """See core.contracts.Journal."""
        if self._loop is None:
            raise RuntimeError("open the journal first")
        if name not in self._cursors:
            self._cursors[name] = JournalCursor(self, CursorState(name, self.floor, self.floor))
            self.moved((), ())
        return self._cursors[name]

    def retain(self, names: Sequence[str]) -> None:
        """See core.contracts.Journal."""
        self._cursors = {name: cursor for name, cursor in self._cursors.items() if name in names}
        self.moved((), ())

    def stats(self) -> JournalStats:
        """See core.contracts.Journal."""
        lost = sum(self._lost.values(), NOTHING)
        full = "it is full, and what is new is not accepted" if self._full else ""
        cursors = {name: cursor.stats() for name, cursor in self._cursors.items()}
        return JournalStats(
            accepted_records=self.head.records,
            accepted_readings=self.head.readings,
            bytes=self._standing.bytes,
            max_bytes=self._max_bytes,
            oldest_time_ns=self._standing.oldest_ns,
            dropped_records={name: each.dropped.records for name, each in cursors.items()},
            dropped_readings={name: each.dropped.readings for name, each in cursors.items()},
            lost_records=lost.records,
            lost_readings=lost.readings,
            error="; ".join(filter(None, (self._error, full, self._store.trouble, self._store.mark.trouble))),
            cursors=cursors,
            commits=self._commits,
            lost_by=dict(self._lost),
            gaps=self._standing.gaps,
        )

    async def close(self) -> None:
        """See core.contracts.Journal."""
        if self._loop is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._commit_all()
        except (TimeoutError, JournalError) as error:
            _log.error("the journal could not commit everything before the end: %s", error or "too slow")
        self._loop = None
        self._cancel_timer()
        left = [*self._group, *self._waiting]
        self._group, self._waiting_bytes = (), 0
        self._waiting.clear()
        if left:
            self._add_lost("closed", size_of(left))
            _log.error("%d records that were not accepted are lost", len(left))
        closing = self._worker.run(self._store.close)
        self._worker.stop()
        await asyncio.wait([closing], timeout=_CLOSE_S)
        self._announce()

    # ----------------------------------------------------------------------------------------------- commit

    def _schedule(self, delay_s: float, *, lazy: bool = False) -> None:
        if self._loop is not None:
            self._cancel_timer()
            self._lazy = lazy
            at = max(self._loop.time() + delay_s, self._earliest)
            self._gather_until = at + self._gather_s
            self._timer = self._loop.call_at(at, self._gather)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _gather(self) -> None:
        """Polls that are due together come within some milliseconds: one commit for all of them."""
        assert self._loop is not None  # noqa: S101 the timer ends with it
        quiet_at = self._appended_at + self._quiet_s
        if self._loop.time() < min(quiet_at, self._gather_until) and 0 < len(self._waiting) < GROUP_RECORDS:
            self._timer = self._loop.call_at(min(quiet_at, self._gather_until), self._gather)
        else:
            self._start()

    def _start(self) -> None:
        """Hand one group to the thread."""
        self._cancel_timer()
        if self._writing is not None or self._loop is None:
            return
        if not self._group:
            self._group = self._next_group()
            self._group_end = self._appended - len(self._waiting)
        letters, gaps, resent, settled = self._letters, self._gaps, self._resent, self._settled
        self._letters, self._gaps, self._resent, self._settled = [], [], [], []
        self._moved = False
        cursors = [cursor.state() for cursor in self._cursors.values()]
        work = Work(self._group, cursors, letters, gaps, resent, settled, dict(self._lost))
        self._started += 1
        self._earliest = self._loop.time() + self._spacing_s
        self._writing = self._worker.run(partial(self._store.write, work))
        self._writing.add_done_callback(partial(self._written, work))

    def _next_group(self) -> tuple[Batch, ...]:
        group: list[Batch] = []
        text = 0
        while self._waiting and len(group) < GROUP_RECORDS:
            text += len(self._waiting[0].text)
            if group and text > min(_GROUP_TEXT, self._store.max_record):
                break
            batch = self._waiting.popleft()
            self._waiting_bytes -= weight(batch)
            group.append(batch)
        return tuple(group)

    def _written(self, work: Work, written: asyncio.Future[Standing]) -> None:
        self._writing = None
        if self._loop is None:
            return  # closed without waiting for it
        error = written.exception()
        if isinstance(error, JournalError):
            self._cannot_write(work, error)
        elif error is not None:
            self._bug = error  # whoever waits for the journal raises it
        else:
            self._accepted(work, written.result())
        self._announce()

    def _accepted(self, work: Work, standing: Standing) -> None:
        if standing.refused.records:
            self._add_lost(Reason.FULL, standing.refused)
            if not self._full:
                _log.error("the journal is full: what is new is not accepted until there is room")
        elif work.batches:
            self._tail.add(Piece(self.head, work.batches, standing.head))
        if work.batches:
            self._full = bool(standing.refused.records)
        self._group = ()
        self._standing = standing
        self.head, self.floor = standing.head, standing.floor
        self._commits += 1
        self._done = self._started
        self._tail.cut(min((cursor.reached for cursor in self._cursors.values()), default=self.head.records))
        if self._error:
            _log.info("the journal can be written again")
            self._error = ""
        self._losing = False
        if self._waiting:
            if len(self._waiting) >= GROUP_RECORDS:
                self._earliest = 0.0  # behind: as fast as the disk goes
            self._schedule(0.0)
        elif self._moved:
            self._schedule(_CURSORS_S, lazy=True)

    def _cannot_write(self, work: Work, error: JournalError) -> None:
        self._letters[:0] = work.letters
        self._gaps[:0] = work.gaps
        self._resent[:0] = work.resent
        self._settled[:0] = work.settled
        if len(self._letters) > _LETTERS_KEPT:
            _log.error("%d dead letters could not be stored", len(self._letters) - _LETTERS_KEPT)
            del self._letters[:-_LETTERS_KEPT]
        if not self._error:
            _log.error("%s; batches wait in memory", error)
        self._error = str(error)
        self._schedule(_RETRY_S)

    async def _commit_all(self) -> None:
        while self._waiting or self._group or self._writing or self._moved:
            self._earliest = 0.0
            self._start()
            if self._writing is not None:
                await asyncio.wait([self._writing])
            if self._bug:
                _log.critical("the journal failed", exc_info=self._bug)
                return
            if self._error:
                raise JournalError(self._error)

    # -------------------------------------------------------------------------------------------------- loss

    def _overflow(self) -> None:
        while self._waiting and self._waiting_bytes > self._ring_bytes:
            batch = self._waiting.popleft()
            self._waiting_bytes -= weight(batch)
            self._lose(batch, "memory", "memory for waiting batches is full")

    def _lose(self, batch: Batch, reason: str, why: str) -> None:
        if not self._losing:
            self._losing = True
            _log.error("records are lost before the journal has accepted them: %s", why)
        self._add_lost(reason, size_of((batch,)))

    def _add_lost(self, reason: str, size: Count) -> None:
        self._lost[reason] = self._lost.get(reason, NOTHING) + size

    def _first_unsettled(self) -> int:
        if self._group:
            return self._group_end - len(self._group)
        return self._appended - len(self._waiting)

    # -------------------------------------------------------------------------------------------- for people

    async def letters(self, after: int = 0, cursor: str = "", limit: int = 100) -> Sequence[DeadLetter]:
        """See core.contracts.JournalDesk."""
        if self._letters:
            await self.store_decision()
        where = "WHERE id > ? AND (cursor = ? OR ? = '') ORDER BY id LIMIT ?"
        return await self.find_letters(where, after, cursor, cursor, limit)

    async def resend(self, ids: Sequence[int]) -> Sequence[int]:
        """See core.contracts.JournalDesk."""
        return await self._desk.resend(ids)

    async def discard(self, ids: Sequence[int]) -> Sequence[int]:
        """See core.contracts.JournalDesk."""
        return await self._desk.discard(ids)

    async def examine(self, record: int, since_ns: int, until_ns: int, *, batches: bool) -> Examined:
        """See core.contracts.JournalDesk."""
        return await self._worker.run(partial(self._store.examine, record, since_ns, until_ns, batches))

    async def find_letters(self, where: str, *values: str | int) -> list[DeadLetter]:
        """See letters.Letters."""
        return await self._worker.run(partial(self._store.letters, where, *values))

    def cursor_named(self, name: str) -> JournalCursor | None:
        """See letters.Letters."""
        return self._cursors.get(name)

    async def store_decision(self, resent: Sequence[int] = (), settled: Sequence[int] = ()) -> None:
        """See letters.Letters."""
        self._resent += resent
        self._settled += settled
        wanted = self._started + 1  # not: until nothing has moved, for cursors may move at every commit
        self._moved = True
        while self._done < wanted and self._loop is not None:
            if self._writing is None:
                self._start()
            await self._change()
            if self._error:
                raise JournalError(self._error)

    # ------------------------------------------------------------------------------------------- for cursors

    @property
    def damage(self) -> tuple[Count, Count]:
        """See cursor.Records."""
        return self._standing.damage

    @property
    def thinned(self) -> Thinned:
        """See cursor.Records."""
        return self._standing.thinned

    async def piece(self, record: int) -> Piece:
        """From the tail where it is in there, else from the disk."""
        if self._bug:
            raise self._bug
        if (piece := self._tail.piece(record)) is not None:
            return piece
        while True:
            try:
                found = await self._worker.run(partial(self._store.look, record))
                if found is not None:
                    return found
            except JournalError as error:
                if not self._error:
                    _log.error("%s", error)
                self._error = str(error)
                await asyncio.sleep(_RETRY_S)

    async def grown(self) -> None:
        """See cursor.Records."""
        await self._change()

    def moved(self, letters: Sequence[Letter], gaps: Sequence[Gap], settled: Sequence[int] = ()) -> None:
        """See cursor.Records."""
        self._letters += letters
        self._settled += settled
        self._gaps += gaps
        self._moved = True
        if self._timer is None and self._writing is None:
            self._schedule(_CURSORS_S, lazy=True)

    async def _change(self) -> None:
        """Return after the next commit, successful or not."""
        if self._bug:
            raise self._bug
        await self._changed.wait()
        if self._bug:
            raise self._bug

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
