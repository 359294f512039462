"""What a driver, a sink, a journal and a simulator promise. The docstrings are the specification; each Protocol has
one test class in ``tests/contract/`` that every implementation inherits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from gateway.core.model import Batch, Device, Group, Scan, Value


class Driver(Protocol):
    """Speaks to the devices of one link. One instance per link, used by exactly one task: no locks.

    - ``__init__(link, clock)`` does no I/O.
    - There is no write method: nothing in this program can command a plant.
    - Library exceptions never leave it; what it raises is a DriverError. Anything else is a bug.
    - A bad *tag* is a status in the Scan. A silent *device* is NoAnswer. A dead *link* is Unavailable.
    - Every await on the network has a deadline, so every method returns or raises in bounded time.
    """

    @property
    def polled(self) -> tuple[Group, ...]:
        """The groups to ``read``, each at its own period. Final after ``connect()``: a server may have told units,
        or have refused a subscription, so ask again after each connect.
        """

    @property
    def pushed(self) -> tuple[Group, ...]:
        """The groups that ``listen`` delivers. Final after ``connect()``, as ``polled``."""

    async def connect(self) -> None:
        """Open the link. May be called again after any failure, and then first lets go of what was open.

        Raises Unavailable, Refused or ProtocolError. A device of the link that is absent is not an error here.

        What the configuration leaves open of a device (units, ranges, names of numbers) may be learnt here. All groups
        and scans of it then carry one new Device, equal in everything else, its tags in the same order.
        """

    async def read(self, group: Group) -> Scan:
        """One poll of one group: its tags, in the order of ``group.index``, with what the device just said.

        Raises NoAnswer (this device only), Unavailable or ProtocolError (the link). Never returns a value that
        the device did not give as the answer to this very request.
        """

    async def listen(self, emit: Callable[[Scan], None]) -> None:
        """Call ``emit`` with every notification of the pushed groups until the link is lost; then raise.

        Runs beside ``read``. ``emit`` does not block. Returns only by raising Unavailable or ProtocolError, or
        when cancelled; returns at once where ``pushed`` is empty.
        """

    async def close(self) -> None:
        """Let go of everything. Never raises, takes at most 2 s, may be called at any time and twice."""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One request that a link will make again and again: what ``check`` prints."""

    device: str
    period_s: float
    request: str  # for people: "FC4 0x0034-0x004B, 24 registers" · "subscribe 12 items"
    tags: int  # how many tags it brings
    seconds: float = 0.0  # the time it takes on a bus whose speed is known; 0: not known


class Cursor(Protocol):
    """One reader of the journal, in order. Positions count records from 0 and never repeat."""

    @property
    def position(self) -> int:
        """The first record that is not delivered."""

    @property
    def pending(self) -> int:
        """How many accepted records are not delivered."""

    async def take(self, records: int, readings: int) -> Sequence[Batch]:
        """The next records from ``position`` on: at least one, at most ``records``, and no more than fit into
        ``readings`` values (but one record always). Waits until there is one. Does not move the cursor: called
        again it gives the same records again.
        """

    def commit(self, count: int, dead: Sequence[tuple[Batch, str]] = ()) -> None:
        """The first ``count`` records from ``position`` on are delivered, or dead letters with a reason each.

        Durable with the next group commit: after a crash, at most one window is delivered again.
        """


@dataclass(frozen=True, slots=True)
class Count:
    """So many records, and so many readings in them."""

    records: int = 0
    readings: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.records + other.records, self.readings + other.readings)

    def __sub__(self, other: Count) -> Count:
        return Count(self.records - other.records, self.readings - other.readings)


@dataclass(frozen=True, slots=True)
class CursorStats:
    """What became of every record since the cursor was made.

    Conservation, at every moment and exactly: ``accepted == delivered + pending + dropped + dead``.
    """

    accepted: Count
    delivered: Count
    pending: Count
    dropped: Count  # gone before they were delivered
    dead: Count  # refused for good, kept as dead letters
    dropped_by: Mapping[str, Count] = field(default_factory=dict)  # the same by reason: full, thinned, damaged


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that a cursor never got, or, where ``cursor`` is empty, that the journal did not accept."""

    cursor: str
    start: Count  # what lies before the first of them
    size: Count
    reason: str  # full · thinned (every second, fourth, … is left out) · damaged
    after_ns: int | None = None  # time of the last record before them; None: not known
    before_ns: int | None = None  # time of the first record behind them
    noticed_ns: int = 0


@dataclass(frozen=True, slots=True)
class JournalStats:
    """What the journal holds and what became of what it took; counts since the journal was made."""

    accepted_records: int
    accepted_readings: int
    bytes: int  # on disk, everything included
    max_bytes: int
    oldest_time_ns: int | None  # commit time of the oldest record that is still there
    dropped_records: Mapping[str, int]  # by cursor: gone before they were delivered
    dropped_readings: Mapping[str, int]
    lost_records: int  # never accepted: appended while the journal could not write
    lost_readings: int
    error: str  # what is wrong with it, empty when nothing is
    cursors: Mapping[str, CursorStats] = field(default_factory=dict)
    commits: int = 0  # group commits since it was opened
    lost_by: Mapping[str, Count] = field(default_factory=dict)  # by reason: full, memory, too large, closed
    gaps: Sequence[Gap] = ()  # the newest ones, newest last


class Journal(Protocol):
    """The durable, append-only store of batches on the box.

    A record is *accepted* when the commit group it is in is on the disk (fsync). Accepted records are never lost and
    come back equal, in the order of ``append``, to every cursor, also after kill -9 or a power cut. Damage is found
    (CRC), reported and stepped over, never delivered.
    """

    async def open(self) -> None:
        """Open or create; raises JournalError with a sentence: not writable, in use, from a newer version."""

    def append(self, batch: Batch) -> None:
        """Hand over a batch; returns at once. Never raises: what cannot be kept is counted as lost."""

    async def flush(self) -> None:
        """Return when everything appended so far is accepted, or counted as lost."""

    def cursor(self, name: str) -> Cursor:
        """The durable cursor of that name; a new one starts at the oldest record that is still there.

        What every cursor has passed may be removed; so a sink that was removed from the configuration must
        be forgotten with ``retain``.
        """

    def retain(self, names: Sequence[str]) -> None:
        """Forget every cursor that is not among ``names``."""

    def stats(self) -> JournalStats:
        """Where it stands now; cheap."""

    async def close(self) -> None:
        """Commit what was appended and close, within 2 s. Never raises."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that a sink refused for good."""

    id: int
    cursor: str
    record: int
    refused_ns: int
    reason: str
    batch: Batch | None  # None: it is damaged
    again: bool = False  # on its way once more


@dataclass(frozen=True, slots=True)
class Examined:
    """A stretch of the journal that was read and checked."""

    next: int  # the first record behind it
    end: int  # of the whole journal
    records: int  # that are readable …
    readings: int
    damaged: Sequence[tuple[int, int]]  # … and those that are not: first record, how many
    batches: Sequence[Batch] = ()


@runtime_checkable
class JournalDesk(Protocol):
    """What people may do with a journal, while it is open: look, and decide about dead letters."""

    def stats(self) -> JournalStats:
        """See Journal."""

    async def letters(self, after: int = 0, cursor: str = "", limit: int = 100) -> Sequence[DeadLetter]:
        """Dead letters with a larger id, oldest first."""

    async def resend(self, ids: Sequence[int]) -> Sequence[int]:
        """Give them back to their sinks, as they were; those for which that works. They count as pending again."""

    async def discard(self, ids: Sequence[int]) -> Sequence[int]:
        """Throw them away; those that were there. They count as dropped."""

    async def examine(self, record: int, since_ns: int, until_ns: int, *, batches: bool) -> Examined:
        """Read and check from ``record`` on, for some hundredths of a second; batches only of that time."""


class Sink(Protocol):
    """Somewhere batches go.

    ``write`` returns only when every batch is durably accepted over there (PUBACK, HTTP 204). It may be handed the
    same batches again after an error or a crash; a re-send carries the same bytes apart from the history mark.
    """

    @property
    def window(self) -> tuple[int, int]:
        """(records, readings): the most that one ``write`` should get."""

    @property
    def linger_s(self) -> float:
        """How long to gather records for one write when fewer than a window are waiting."""

    async def connect(self) -> None:
        """Reach the other side; raises SinkUnavailable. May be called again after any failure."""

    async def write(self, batches: Sequence[Batch], history: bool) -> None:
        """Deliver, in order. ``history``: these are being caught up after an outage.

        Raises SinkUnavailable (none of them counts) or Rejected (those indices are refused for good, all others
        are accepted). Bounded in time.
        """

    async def close(self) -> None:
        """Let go of everything. Never raises, takes at most 2 s, may be called twice."""


@runtime_checkable
class LiveSink(Protocol):
    """A sink that also shows the newest values and the states of devices, best effort."""

    async def live(self) -> None:
        """Show what the board says while connected, until cancelled. Never raises SinkError: it waits instead."""


@runtime_checkable
class WatchedSink(Protocol):
    """A sink whose connection can end while nothing is written."""

    async def lost(self) -> None:
        """Wait for the end of the connection that ``connect`` has made, and raise SinkUnavailable."""


class DeviceState(Protocol):
    """How one device is doing, read-only."""

    @property
    def device(self) -> Device: ...
    @property
    def state(self) -> str:
        """Online · degraded (some tags bad) · offline."""

    @property
    def since_ns(self) -> int: ...
    @property
    def error(self) -> str:
        """The last error as a sentence, empty when online."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest of a device: columns of shape (m,), one entry per tag of ``device.tags``."""

    values: Sequence[Value]
    status: Sequence[int]
    times_ns: Sequence[int]  # 0: nothing was said yet

    @property
    def rows(self) -> Iterable[tuple[Value, int, int]]:
        """(value, status, time_ns) of each tag."""
        return zip(self.values, self.status, self.times_ns, strict=True)


class Board(Protocol):
    """The newest values and states of everything, read-only: what the API and the live lane look at."""

    def states(self) -> Sequence[DeviceState]:
        """Every configured device, in configuration order."""

    def newest(self, device: Device) -> Newest:
        """What is known of each tag of ``device.tags``."""

    def run(self, device: Device) -> tuple[str, str]:
        """(run, phase) that is open where the device stands; empty when none."""

    def version(self, device: Device) -> int:
        """Grows with every new value of the device."""

    def urgency(self, device: Device) -> int:
        """Grows with every change of quality or state of the device: worth showing at once."""

    async def changed(self) -> None:
        """Return when some ``urgency`` has grown since the last call of this coroutine's caller began waiting."""


class Simulator(Protocol):
    """Plays the devices of one link over the real protocol, on loopback."""

    async def start(self) -> None:
        """Listen. The link's own host and port, port 0 meaning: any free one."""

    @property
    def port(self) -> int: ...

    @property
    def writes(self) -> int:
        """Write requests received. The gateway never sends one, so after every test this is 0."""

    def set(self, device: str, values: Mapping[str, Value]) -> None:
        """Let the tags of a device have these engineering values from the next request on."""

    async def close(self) -> None: ...
