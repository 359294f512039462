"""What people may do with the journal: look at it, read and check it, decide about dead letters.

In: an open journal. Out: plain dictionaries, the same over HTTP while the gateway runs and to the commands
``pilot-gateway journal`` and ``dead-letters`` while it is stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.answers import answer
from gateway.api.views import by_reason, gap_view
from gateway.core.contracts import Count, DeadLetter, JournalDesk, JournalStats
from gateway.core.errors import GatewayError
from gateway.core.model import Batch

MOST_LETTERS = 500
FOREVER_NS = 1 << 62


class NoSuchLetterError(GatewayError):
    """There is no dead letter of that number, or nothing can be done with it."""


class Desk:
    """The views on one journal."""

    def __init__(self, journal: JournalDesk) -> None:
        self._journal = journal

    async def stat(self) -> dict[str, Any]:
        """What it holds and what became of everything."""
        stats: JournalStats = self._journal.stats()
        return {
            "error": stats.error or None,
            "accepted": _counted(Count(stats.accepted_records, stats.accepted_readings)),
            "lost": _counted(Count(stats.lost_records, stats.lost_readings)),
            "lost_by": by_reason(stats.lost_by),
            "bytes": stats.bytes,
            "max_bytes": stats.max_bytes,
            "oldest": time_text(stats.oldest_time_ns),
            "sinks": {
                name: {
                    **{what: _counted(getattr(each, what)) for what in ACCOUNT},
                    "dropped_by": by_reason(each.dropped_by),
                }
                for name, each in stats.cursors.items()
            },
            "gaps": [{"sink": gap.cursor or None, **gap_view(gap)} for gap in stats.gaps],
        }

    async def records(self, record: int, since_ns: int, until_ns: int, *, readings: bool) -> dict[str, Any]:
        """A stretch of it, read and checked; ``readings``: with every reading of that time, one row each."""
        found = await self._journal.examine(record, since_ns, until_ns, batches=readings)
        return {
            "next": found.next,
            "end": found.end,
            "records": found.records,
            "readings": found.readings,
            "damaged": [{"first_record": first, "records": count} for first, count in found.damaged],
            "rows": [row for batch in found.batches for row in rows(batch)],
        }

    async def letters(self, after: int, sink: str, limit: int) -> dict[str, Any]:
        """Dead letters, oldest first."""
        found = await self._journal.letters(after, sink, max(1, min(limit, MOST_LETTERS)))
        return {"dead_letters": [letter_view(letter) for letter in found]}

    async def letter(self, number: int) -> dict[str, Any]:
        """One of them with its readings. Raises NoSuchLetterError."""
        for letter in await self._journal.letters(number - 1, "", 1):
            if letter.id == number:
                return {**letter_view(letter), "rows": list(rows(letter.batch)) if letter.batch else []}
        raise NoSuchLetterError(f"there is no dead letter {number}")

    async def resend(self, number: int) -> dict[str, Any]:
        """Give one back to its sink. Raises NoSuchLetterError."""
        if not await self._journal.resend((number,)):
            raise NoSuchLetterError(await self._why_not(number))
        return {"id": number, "resent": True}

    async def drop(self, number: int) -> dict[str, Any]:
        """Throw one away. Raises NoSuchLetterError."""
        if not await self._journal.discard((number,)):
            raise NoSuchLetterError(await self._why_not(number))
        return {"id": number, "dropped": True}

    async def _why_not(self, number: int) -> str:
        letter = await self.letter(number)
        if letter["again"]:
            return f"dead letter {number} is on its way again already"
        if letter["damaged"]:
            return f"dead letter {number} is damaged: it can only be dropped"
        return f"dead letter {number} is of sink {letter['sink']}, which is no longer configured"


ACCOUNT = ("accepted", "delivered", "pending", "dropped", "dead")
"""The account of a sink: accepted = delivered + pending + dropped + dead."""


def _counted(count: Count) -> dict[str, int]:
    return {"records": count.records, "readings": count.readings}


def letter_view(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter without its readings."""
    batch = letter.batch
    source = batch.shape.source if batch else None
    return {
        "id": letter.id,
        "sink": letter.cursor,
        "reason": letter.reason,
        "refused": time_text(letter.refused_ns),
        "device": f"{source.site}/{source.line}/{source.device}" if source else None,
        "time": time_text(batch.time_ns) if batch else None,
        "boot": batch.boot if batch else None,
        "seq": batch.seq if batch else None,
        "readings": len(batch.values) if batch else None,
        "again": letter.again,
        "damaged": batch is None,
    }


def rows(batch: Batch) -> Iterator[dict[str, Any]]:
    """The readings of a batch, one dictionary each."""
    for reading in batch.readings():
        yield {
            "time": time_text(reading.time_ns),
            "site": reading.site,
            "line": reading.line,
            "device": reading.device,
            "tag": reading.tag,
            "value": reading.value,
            "unit": reading.unit,
            "quality": reading.quality,
            "status": reading.status,
            "run": reading.run,
            "phase": reading.phase,
            "boot": reading.boot,
            "seq": reading.seq,
        }


def time_text(time_ns: int | None) -> str | None:
    """UTC with all nine digits, as RFC 3339 allows.

    >>> time_text(1_763_800_000_123_456_789), time_text(None)
    ('2025-11-22T08:26:40.123456789Z', None)
    """
    if time_ns is None:
        return None
    seconds, ns = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"


# -------------------------------------------------------------------------------------------------------- routes


def desk_routes(desk: Desk) -> list[Route]:
    """The routes of ``/api/v1/journal`` and ``/api/v1/dead-letters``."""

    async def stat(_: Request) -> Response:
        return answer(await desk.stat())

    async def records(request: Request) -> Response:
        readings = request.query_params.get("readings") == "1"
        since_ns, until_ns = _number(request, "since_ns", -FOREVER_NS), _number(request, "until_ns", FOREVER_NS)
        return answer(await desk.records(_number(request, "from", 0), since_ns, until_ns, readings=readings))

    async def letters(request: Request) -> Response:
        after, limit = _number(request, "after", 0), _number(request, "limit", 100)
        return answer(await desk.letters(after, request.query_params.get("sink", ""), limit))

    async def letter(request: Request) -> Response:
        number = request.path_params["number"]
        try:
            if request.method == "POST":
                return answer(await desk.resend(number))
            if request.method == "DELETE":
                return answer(await desk.drop(number))
            return answer(await desk.letter(number))
        except NoSuchLetterError as error:
            raise HTTPException(404, str(error)) from error

    one = "/api/v1/dead-letters/{number:int}"
    return [
        Route("/api/v1/journal", stat),
        Route("/api/v1/journal/records", records),
        Route("/api/v1/dead-letters", letters),
        Route(one, letter, methods=["GET", "DELETE"]),
        Route(f"{one}/resend", letter, methods=["POST"]),
    ]


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    try:
        number = default if text is None else int(text)
    except ValueError:
        raise HTTPException(400, f"{name} must be a whole number") from None
    if not -FOREVER_NS <= number <= FOREVER_NS:
        raise HTTPException(400, f"{name} is out of range")
    return number
