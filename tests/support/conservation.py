"""Conservation: what a sink's account must say at every moment, exactly, in records and in readings.

    accepted = delivered + still in the journal + dropped + dead letters

One helper for journals in a test (JournalStats) and for whole gateways (the answer of ``/api/v1/status``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from gateway.core.contracts import JournalStats

PARTS = ("delivered", "pending", "dropped", "dead")


def assert_conserved(account: JournalStats | Mapping[str, Any]) -> None:
    """Every sink accounts for every record and every reading, and for every drop with a reason."""
    sinks = list(_of_stats(account) if isinstance(account, JournalStats) else _of_status(account))
    for name, unit, numbers, by_reason in sinks:
        where = f"{name}: {unit} {numbers}, dropped {by_reason}"
        assert numbers["accepted"] == sum(numbers[part] for part in PARTS), where
        assert all(number >= 0 for number in (*numbers.values(), *by_reason.values())), where
        assert numbers["dropped"] == sum(by_reason.values()), where


def _of_stats(stats: JournalStats) -> Iterator[tuple[str, str, Mapping[str, int], Mapping[str, int]]]:
    assert stats.lost_records == sum(lost.records for lost in stats.lost_by.values()), stats.lost_by
    assert stats.lost_readings == sum(lost.readings for lost in stats.lost_by.values()), stats.lost_by
    for name, cursor in stats.cursors.items():
        assert stats.dropped_records[name] == cursor.dropped.records, name
        assert stats.dropped_readings[name] == cursor.dropped.readings, name
        counts = {part: asdict(getattr(cursor, part)) for part in ("accepted", *PARTS)}
        for unit in ("records", "readings"):
            numbers = {part: count[unit] for part, count in counts.items()}
            yield name, unit, numbers, {reason: asdict(size)[unit] for reason, size in cursor.dropped_by.items()}


def _of_status(status: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, int], Mapping[str, int]]]:
    for sink in status["sinks"]:
        for unit in ("records", "readings"):
            yield sink["sink"], unit, sink[unit], {reason: size[unit] for reason, size in sink["dropped_by"].items()}
