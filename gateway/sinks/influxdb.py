"""The InfluxDB sink: batches as line protocol to ``/api/v2/write`` (2.x, 3.x, 1.8+), gzipped.

In: batches from the journal. Out: HTTP requests; ``write`` returns when the database said 204 to every line. The
lines are made in line_protocol.py, answers are judged in influxdb_answer.py; here they are sent.

Everything happens in one thread of its own: rendering, compressing (which lets go of the interpreter lock) and the
request, so the event loop only pays for the hand-over, 40 µs per write. influxdb-client is used for what it does
well (connections, TLS, addressing); its batching mode, which drops data after some errors, and its gzip at level 9
are not. It is imported in that thread and at the first connect: it takes 1.2 s and 48 MB.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from urllib3.exceptions import HTTPError

from gateway.core.clock import Clock
from gateway.core.contracts import Board
from gateway.core.errors import Rejected, SinkUnavailable
from gateway.core.model import Batch
from gateway.core.options import Options
from gateway.sinks import Identity
from gateway.sinks.influxdb_answer import Action, Verdict, judge
from gateway.sinks.line_protocol import LineEncoder
from gateway.sinks.options import InfluxDbOptions
from gateway.sinks.security import read_secret, tls_context
from gateway.sinks.worker import Worker

try:
    from isal import isal_zlib as deflate
except ImportError:  # no wheel for this machine
    import zlib as deflate  # type: ignore[no-redef]

Result = TypeVar("Result")

MOST_RECORDS = 1_000
"""Records in one write."""

GROW_AFTER = 50
"""Writes in a row that went well after which a request may be a quarter larger again."""

LONE_SERIES = 3
"""So many series of which a lone line is refused with one and the same sentence make us doubt that it is the lines."""

SEARCH_S = 30.0
"""How long one write may search for the lines that the database refuses before it starts over with fewer."""


def compress(lines: bytes) -> bytes:
    """As gzip, level 1, without a time in the header: isal is five times cheaper than zlib and no larger."""
    return deflate.compress(lines, 1, wbits=31)


class InfluxDbSink:
    """One bucket."""

    def __init__(self, name: str, options: Options, identity: Identity, board: Board, clock: Clock) -> None:
        assert isinstance(options, InfluxDbOptions)  # noqa: S101 - the registry pairs them
        self._name = name
        self._options = options
        self._encoder = LineEncoder(options.measurement, options.extra_tags)
        self._worker: Worker | None = None
        self._connection: Connection | None = None
        self._clock = clock
        self._most_readings = options.max_values  # less after a 413 or a search that took too long
        self._good_writes = 0  # since the limit changed

    @property
    def window(self) -> tuple[int, int]:
        """What one request holds."""
        return MOST_RECORDS, self._most_readings

    @property
    def linger_s(self) -> float:
        """Requests are dear and lines are cheap: gather."""
        return self._options.linger_s

    async def connect(self) -> None:
        """Reach the server (``/ping``, which every version answers) with the token as it is now."""
        await self.close()
        worker = self._worker = Worker(f"influxdb-{self._name}")
        # the import of the library alone may take seconds on a small machine
        self._connection = await self._call(worker, lambda: Connection(self._options, self._clock), extra_s=30)
        await self._call(worker, self._connection.ping)

    async def write(self, batches: Sequence[Batch], history: bool) -> None:
        """Store every line of every batch; a batch with a line that is refused for good is Rejected, the rest of
        its lines are stored.
        """
        worker, connection = self._worker, self._connection
        if worker is None or connection is None:
            raise SinkUnavailable("not connected")
        upload = Upload(connection, self._encoder, batches, self._most_readings)
        try:
            refused = await self._call(worker, upload.run, extra_s=SEARCH_S)
        finally:
            upload.cancelled = True
            self._learn(upload.most_readings)
        if refused:
            raise Rejected(tuple(refused), _summary(list(refused.values())))

    def _learn(self, most_readings: int) -> None:
        """What one request holds from now on: at once less, and slowly more again, for a proxy may have been mended."""
        if most_readings < self._most_readings:
            self._most_readings, self._good_writes = most_readings, 0
            return
        self._good_writes += 1
        if self._good_writes >= GROW_AFTER:
            self._most_readings = min(self._options.max_values, most_readings + most_readings // 4 + 1)
            self._good_writes = 0

    async def close(self) -> None:
        """Let go; a request that is on its way ends by itself within the time limit, unheard."""
        worker, connection = self._worker, self._connection
        self._worker = self._connection = None
        if worker:
            if connection:
                connection.abandon()
            worker.stop()

    async def _call(self, worker: Worker, function: Callable[[], Result], extra_s: float = 0.0) -> Result:
        """In the thread, bounded also where no time limit reaches (name look-up)."""
        try:
            async with asyncio.timeout(2 * self._options.timeout_s + extra_s):
                return await worker.call(function)
        except TimeoutError as error:
            await self.close()  # the thread is stuck: the next connect starts a new one
            raise SinkUnavailable(f"{self._options.url} does not answer") from error


class Connection:
    """The HTTP side. Made and used in the worker's thread only, except ``abandon``."""

    def __init__(self, options: InfluxDbOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._target = f"bucket {options.bucket!r}" + (f" in org {options.org!r}" if options.org else "")
        token = self._token = read_secret(options.token, options.token_file, "token")
        self._library: Any = import_module("influxdb_client")
        self._client = self._library.InfluxDBClient(
            url=options.url,
            token=token or None,
            org=options.org,
            timeout=int(options.timeout_s * 1000),
            ssl_context=tls_context(options.tls) if options.tls else None,
        )
        self._service = self._library.WriteService(self._client.api_client)

    def ping(self) -> None:
        """Whether anything answers; whether it takes our data only a write can tell."""
        service = self._library.PingService(self._client.api_client)
        status, headers, body = self._request(service.get_ping_with_http_info)
        if status in (401, 403) or status >= 500:
            error = judge(status, headers, body, self._options.url, self._target, self._clock.time_ns()).error
            if error:
                raise error

    def post(self, lines: bytes) -> Verdict:
        """One write request. Raises SinkUnavailable when there was no answer."""

        def call() -> Any:
            return self._service.post_write_with_http_info(
                org=self._options.org,
                bucket=self._options.bucket,
                body=compress(lines),
                precision="ns",
                content_encoding="gzip",
            )

        status, headers, body = self._request(call)
        return judge(status, headers, body, self._options.url, self._target, self._clock.time_ns())

    def abandon(self) -> None:
        """Close what is idle; called from the event loop."""
        self._client.api_client.rest_client.pool_manager.clear()

    def _request(self, call: Callable[[], Any]) -> tuple[int, Any, str]:
        """(status, headers, body) of any answer; an answer that never came is SinkUnavailable."""
        url = self._options.url
        try:
            _, status, headers = call()
        except self._library.rest.ApiException as error:
            if error.status:
                return error.status, error.headers or {}, self._text(error.body)
            raise SinkUnavailable(f"TLS with {url} failed: {error.reason}", slow=True) from error  # status 0
        except (HTTPError, OSError, UnicodeError) as error:
            raise SinkUnavailable(f"{url} cannot be reached: {_reason(error)}") from error
        return status, headers, ""

    def _text(self, body: Any) -> str:
        """What the server says, without our token: it goes into logs, the status and dead letters."""
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
        return text.replace(self._token, "***") if self._token else text


def _reason(error: Exception) -> str:
    """The cause without the library's object addresses."""
    cause = error.args[0] if error.args else error
    return str(getattr(error, "reason", None) or cause).split(": ", 1)[-1]


@dataclass(frozen=True, slots=True)
class Part:
    """Some lines of one record."""

    index: int  # of the record in the write
    lines: tuple[bytes, ...]


class Upload:
    """One write: sends everything, and where something is refused searches for it by halves."""

    def __init__(self, connection: Connection, encoder: LineEncoder, batches: Sequence[Batch], most: int) -> None:
        self._connection = connection
        self._encoder = encoder
        self._batches = batches
        self._refused: dict[int, str] = {}
        self._ends_at = time.monotonic() + SEARCH_S
        self._alike: dict[str, set[bytes]] = {}  # reason → series of which a lone line was refused
        self._stored = False  # the database took something of this write
        self.most_readings = most  # in one request, as it turned out
        self.cancelled = False

    def run(self) -> dict[int, str]:
        """Index of a record → why a line of it is refused for good. Raises SinkUnavailable."""
        for chunk in self._chunks(range(len(self._batches))):
            self._send(chunk)
        return dict(sorted(self._refused.items()))

    def _chunks(self, indices: range) -> list[range]:
        """Consecutive records, as many as one request may hold."""
        chunks, start, readings = [], indices.start, 0
        for i in indices:
            count = len(self._batches[i].values)
            if readings and readings + count > self.most_readings:
                chunks.append(range(start, i))
                start, readings = i, 0
            readings += count
        chunks.append(range(start, indices.stop))
        return [chunk for chunk in chunks if chunk]

    def _send(self, indices: range) -> None:
        """Records: one request, or halves of it when something in there is refused."""
        verdict = self._post(b"".join([self._encoder.encode(self._batches[i]) for i in indices]))
        readings = sum(len(self._batches[i].values) for i in indices)
        match verdict.action:
            case Action.STORED:
                return
            case Action.SMALLER:
                self.most_readings = min(self.most_readings, max(1, readings // 2))
            case _ if verdict.partial and verdict.dropped == readings:
                self._refused |= dict.fromkeys(indices, verdict.reason)
                return
            case _ if verdict.partial and verdict.lines and verdict.lines[-1] < readings:
                owners = [i for i in indices for _ in self._batches[i].values]
                self._refused |= dict.fromkeys((owners[line] for line in verdict.lines), verdict.reason)
                return
        if len(indices) > 1:
            middle = indices.start + len(indices) // 2
            self._send(range(indices.start, middle))
            self._send(range(middle, indices.stop))
        elif verdict.partial:
            self._refused[indices.start] = verdict.reason  # the other lines of the record are stored
        else:
            self._search(indices.start, self._encoder.lines(self._batches[indices.start]), verdict)

    def _search(self, index: int, lines: Sequence[bytes], verdict: Verdict) -> None:
        """Lines of one record that were refused as a whole: store each one that can be stored."""
        if len(lines) == 1:
            self._refused.setdefault(index, verdict.reason)
            self._doubt(lines[0], verdict)
            return
        middle = len(lines) // 2
        for half in (lines[:middle], lines[middle:]):
            answer = self._post(b"".join(half))
            if answer.action is not Action.STORED:
                self._search(index, half, answer)

    def _doubt(self, line: bytes, verdict: Verdict) -> None:
        """Lone lines of different series, refused alike, and nothing stored: is it the lines at all?

        A wrong address or a proxy may answer 400 to whatever comes. Making dead letters of everything would be the
        end of the data, so then everything is kept and said, until a line of this write is taken.
        """
        if self._stored or verdict.action is not Action.BISECT or verdict.partial:
            return
        alike = self._alike.setdefault(verdict.reason, set())
        alike.add(_series(line))
        if len(alike) < min(LONE_SERIES, self._count_series()) or len(alike) < 2:
            return
        last = self._encoder.lines(self._batches[-1])[-1]
        probe = self._post(last)
        if probe.action is Action.BISECT and probe.reason == verdict.reason:
            raise SinkUnavailable(
                f"every line is {verdict.reason}; nothing becomes a dead letter while nothing is taken at all: "
                f"mend url, org or bucket, or what stands in between",
                slow=True,
            )

    def _count_series(self) -> int:
        return len({_series(line) for batch in self._batches[:LONE_SERIES] for line in self._encoder.lines(batch)})

    def _post(self, lines: bytes) -> Verdict:
        if self.cancelled:
            raise SinkUnavailable("the write was cancelled")
        if time.monotonic() > self._ends_at:
            self.most_readings = max(1, self.most_readings // 4)
            raise SinkUnavailable(f"searching for refused lines took over {SEARCH_S:g} s; starting over with fewer")
        verdict = self._connection.post(lines)
        if verdict.error:
            raise verdict.error
        self._stored = self._stored or verdict.action is Action.STORED or verdict.partial
        return verdict


def _series(line: bytes) -> bytes:
    """Measurement and tags; no name in there holds a space."""
    return line.partition(b" ")[0]


def _summary(reasons: Sequence[str]) -> str:
    others = len(set(reasons)) - 1
    return reasons[0] if not others else f"{reasons[0]} (and {others} other reasons)"
