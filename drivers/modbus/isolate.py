"""Which blocks of a group are asked, and which tags rest because the device does not give them. Pure.

In: what became of each request of a poll. Out: what to ask next, and in the end the blocks with what they brought.

A block that is refused (exception 1, 2, 3) is asked in two halves, those again, until the offender stands alone: it
rests and is tried again now and then, and no later request spans its registers. Where both halves are given, no
register is to blame but the way from one half to the other (a gap nobody may read, or too long a request): a cut stays
there. So the neighbours keep coming, and every device is asked in as few requests as it lets us.

Silence says less: a lost frame, a device without power, or one that answers what it does not know with nothing. So:

- silence while nothing else of the device was heard means that the device is gone, at the price of one timeout;
- a block that stays silent while the device answers others costs only its own tags; after ``STRIKES`` times it is
  asked in halves, as above. At most one such block is asked per poll: one timeout, however many there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeAlias

from drivers.modbus.options import Address, Limits
from drivers.modbus.plan import Barriers, Block, block_of, plan
from gateway.core.quality import Status

SPARE = 16  # requests beyond the plan that one poll may make to find an offender
STRIKES = 3  # silences among answers that make a block suspect


@dataclass(frozen=True, slots=True)
class Refused:
    """The device does not give this block: exception 1, 2 or 3."""

    code: int


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing usable came; ``reason`` in words."""

    reason: str
    status: Status = Status.BAD_COMMUNICATION_ERROR  # of the tags


Outcome: TypeAlias = bytes | Status | Refused | Silence
"""What became of a request: its data, a status of its tags, or one of the two that need a decision."""


@dataclass(frozen=True, slots=True)
class News:
    """A value that is not given any more, or given again: told once."""

    block: Block
    reason: str  # empty: it is given again


@dataclass(eq=False, slots=True)
class _Split:
    """A block that was asked in halves and why is not known yet."""

    function: int
    at: int  # first register of the second half
    parent: _Split | None
    open: int = 2  # halves whose fate is not known
    explained: bool = False


@dataclass(eq=False, slots=True)
class _Piece:
    block: Block
    split: _Split | None = None
    silent_at: int = 0  # tick of the last silence; 0: it answered when it was last asked
    strikes: int = 0
    rests_until_ns: int = 0  # 0: it is asked with every poll
    status: Status = Status.BAD_CONFIGURATION_ERROR  # of its tags while it is not asked


@dataclass(eq=False, slots=True)
class Memory:
    """What the groups of one device know together; it outlives polls and connections."""

    isolations: list[Isolation] = field(default_factory=list)
    cuts: set[tuple[int, int]] = field(default_factory=set)
    version: int = 0  # grows with every change of what may be asked
    tick: int = 0  # counts outcomes
    heard: int = 0  # tick of the last answer, of whatever kind
    gone: int = 0  # polls in a row that nobody answered

    def barriers(self) -> Barriers:
        """What no request to the device may cross."""
        bad: set[tuple[int, int]] = set()
        good: set[tuple[int, int]] = set()
        for isolation in self.isolations:
            isolation.judge(bad, good)
        return Barriers(frozenset(bad - good), frozenset(self.cuts))


class Isolation:
    """The course of the polls of one group; ``begin``, then ``next`` and ``take`` in turn, then ``end``.

    While it is ``steady``, a poll may ask all ``blocks`` at once instead and say that they were ``given``; where one
    was not, what became of them up to that one is told to ``take`` as ever.
    """

    def __init__(self, addresses: Sequence[Address], limits: Limits, memory: Memory, retry_ns: int) -> None:
        self.news: list[News] = []  # since it was last cleared
        self.blocks: tuple[Block, ...] = ()
        self._addresses = tuple(addresses)
        self._limits = limits
        self._memory = memory
        self._retry_ns = retry_ns
        self._pieces: list[_Piece] = []
        self._version = -1
        self._queue: deque[_Piece] = deque()
        self._answers: dict[_Piece, bytes | Status] = {}
        self._asked: _Piece | None = None
        self._now_ns = self._spare = 0
        self._heard = self._silent = self._knocking = False
        self._calm = False  # with the last poll every block was given, as nearly always
        memory.isolations.append(self)
        self._replan()

    # ------------------------------------------------------------------------------------------------ one poll

    @property
    def steady(self) -> bool:
        """Whether there is nothing to decide: ``blocks`` may be asked in their order, and ``given`` if all is well."""
        return self._calm and self._version == self._memory.version

    def given(self) -> None:
        """Every one of ``blocks`` brought its data: all of a poll that had nothing to decide."""
        memory = self._memory
        memory.tick += 1
        memory.heard, memory.gone = memory.tick, 0

    def begin(self, now_ns: int) -> None:
        """A poll starts: decide what is asked, the blocks that answered last time first."""
        if self._version != self._memory.version and not any(piece.split for piece in self._pieces):
            self._replan()
        self._now_ns, self._spare, self._calm = now_ns, SPARE, False
        self._heard = self._silent = self._knocking = False
        self._answers = {}
        working = [piece for piece in self._pieces if not piece.rests_until_ns]
        if any(piece.silent_at for piece in working):
            working.sort(key=lambda piece: piece.silent_at)
        self._queue = deque(working)
        if len(working) < len(self._pieces):
            self._queue.extend(self._due(anyway=not working))
        if working and self._memory.gone % 3 == 2 and all(p.silent_at > self._memory.heard for p in working):
            self._knock(working[0])

    def _due(self, anyway: bool) -> list[_Piece]:
        """The resting ones to be tried; one ``anyway`` where nothing else would show that the device lives."""
        resting = sorted((p for p in self._pieces if p.rests_until_ns), key=lambda piece: piece.rests_until_ns)
        due = [piece for piece in resting if piece.rests_until_ns <= self._now_ns][: SPARE // 2]
        return due or resting[:1] if anyway else due

    def _knock(self, piece: _Piece) -> None:
        """Ask for one value alone, in case it is the length or a part of the block that brings silence."""
        items = self._items(piece.block)
        if len(items) > 1:
            self._knocking = True
            self._queue.appendleft(_Piece(block_of(items[0], self._addresses, self._limits)))

    def next(self) -> Block | None:
        """The next request; None: the poll is over."""
        while self._queue:
            self._asked = self._queue.popleft()
            if not (self._silent and self._asked.silent_at):
                return self._asked.block
        return None

    def take(self, outcome: Outcome) -> bool:
        """What became of the request; False: the device is gone, as far as one can tell."""
        piece, memory = self._asked, self._memory
        if piece is None:
            raise RuntimeError("nothing was asked")
        memory.tick += 1
        if isinstance(outcome, Silence):
            return self._take_silence(piece, outcome)
        memory.heard, memory.gone = memory.tick, 0
        self._heard = True
        if self._knocking:
            self._knocking = False
            return True
        piece.silent_at = 0
        if isinstance(outcome, Refused):
            self._take_refusal(piece, f"exception {outcome.code}")
        elif not piece.rests_until_ns:
            piece.strikes = 0
            self._answers[piece] = outcome
            if piece.split:
                self._resolve(piece, explained=type(outcome) is not bytes)
        elif type(outcome) is bytes:
            self._back(piece, outcome)
        else:
            piece.rests_until_ns = self._now_ns + self._retry_ns
        return True

    def end(self) -> list[bytes | Status]:
        """What each of ``blocks`` brought (b,), which may be other ones than before the poll."""
        if len(self.blocks) != len(self._pieces) or self._version != self._memory.version:
            self.blocks = tuple(piece.block for piece in self._pieces)
        answers = self._answers
        self._calm = not any(p.split or p.silent_at or p.strikes or p.rests_until_ns for p in self._pieces)
        return [answers.get(piece, piece.status) for piece in self._pieces]

    # ------------------------------------------------------------------------------------------------ judgement

    def _take_silence(self, piece: _Piece, silence: Silence) -> bool:
        memory = self._memory
        alive = self._heard or 0 < piece.silent_at < memory.heard
        piece.silent_at = memory.tick
        if not piece.rests_until_ns:
            piece.status = silence.status
        if not alive or self._silent or self._knocking:
            memory.gone += 1
            return False
        self._silent = True
        if piece.rests_until_ns:
            piece.rests_until_ns = self._now_ns + self._retry_ns
            return True
        piece.strikes += 1
        if piece.strikes >= STRIKES:
            halves = self._halve(piece)
            for half in halves:
                half.status, half.strikes, half.silent_at = piece.status, STRIKES - 1, memory.tick
            if not halves:
                self._rest(piece, silence.reason)
        return True

    def _take_refusal(self, piece: _Piece, reason: str) -> None:
        piece.status = Status.BAD_CONFIGURATION_ERROR
        if piece.rests_until_ns:
            piece.rests_until_ns = self._now_ns + self._retry_ns
            return
        halves = self._halve(piece)
        if not halves:
            self._rest(piece, reason)
        elif self._spare >= len(halves):
            self._spare -= len(halves)
            self._queue.extendleft(reversed(halves))

    def _halve(self, piece: _Piece) -> list[_Piece]:
        """The halves that take the place of a piece; none: it is one value."""
        items = self._items(piece.block)
        if len(items) < 2:
            return []
        middle = len(items) // 2
        parts = [list(chain.from_iterable(part)) for part in (items[:middle], items[middle:])]
        split = _Split(piece.block.function, self._addresses[parts[1][0]].register, piece.split)
        halves = [_Piece(block_of(tags, self._addresses, self._limits), split) for tags in parts]
        place = self._pieces.index(piece)
        self._pieces[place : place + 1] = halves
        self._memory.version += 1
        return halves

    def _items(self, block: Block) -> list[list[int]]:
        """The tags of a block by the registers they take, in the order of registers."""
        places: dict[tuple[int, int], list[int]] = {}
        for tag in block.tags:
            places.setdefault((self._addresses[tag].register, self._addresses[tag].words), []).append(tag)
        return [places[place] for place in sorted(places)]

    def _rest(self, piece: _Piece, reason: str) -> None:
        piece.rests_until_ns = self._now_ns + self._retry_ns
        piece.status = Status.BAD_CONFIGURATION_ERROR
        self._memory.version += 1
        self.news.append(News(piece.block, reason))
        self._resolve(piece, explained=True)

    def _back(self, piece: _Piece, data: bytes) -> None:
        """It is given again; maybe the others of the device are, too."""
        piece.rests_until_ns = piece.strikes = 0
        self._answers[piece] = data
        self._memory.version += 1
        self.news.append(News(piece.block, ""))
        for isolation in self._memory.isolations:
            isolation.try_again()

    def try_again(self) -> None:
        """Let everything that rests be tried with the next poll."""
        for piece in self._pieces:
            piece.rests_until_ns = min(piece.rests_until_ns, 1)

    def _resolve(self, piece: _Piece, explained: bool) -> None:
        """The fate of a half is known; that of the block it is from may follow from it."""
        split, piece.split = piece.split, None
        while split:
            split.open -= 1
            split.explained |= explained
            if split.open:
                return
            if not split.explained:
                self._memory.cuts.add((split.function, split.at))
                self._memory.version += 1
            explained = True
            split = split.parent

    # -------------------------------------------------------------------------------------------------- planning

    def judge(self, bad: set[tuple[int, int]], good: set[tuple[int, int]]) -> None:
        """Add the registers of the values that are not given, and of those that are."""
        for piece in self._pieces:
            for tag in piece.block.tags:
                address = self._addresses[tag]
                registers = range(address.register, address.register + address.words)
                (bad if piece.rests_until_ns else good).update((address.function, r) for r in registers)

    def _replan(self) -> None:
        resting = [piece for piece in self._pieces if piece.rests_until_ns]
        absent = {tag for piece in resting for tag in piece.block.tags}
        tags = [tag for tag in range(len(self._addresses)) if tag not in absent]
        known = {piece.block: piece for piece in self._pieces}
        wanted = plan(self._addresses, self._limits, tags, self._memory.barriers())
        self._pieces = [known.get(block) or _Piece(block) for block in wanted] + resting
        self.blocks = tuple(piece.block for piece in self._pieces)
        self._version = self._memory.version
