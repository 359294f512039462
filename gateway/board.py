"""The newest values and states of everything: what the API and the live lanes look at.

In: every batch, as it is made, and the states the acquire tasks report. Out: core.contracts.Board.
A batch costs one dictionary entry here; values are only picked apart when somebody looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.core.contracts import Newest
from gateway.core.model import Batch, Device, Value
from gateway.core.quality import GOOD, Status
from gateway.health import State


@dataclass(slots=True)
class BoardEntry:
    """One device."""

    device: Device
    configured: Device  # the same, before it said what the configuration leaves open
    state: State = State.CONNECTING
    since_ns: int = 0
    error: str = ""
    run: str = ""
    phase: str = ""
    version: int = 0
    urgency: int = 0
    batches: dict[tuple[int, ...], Batch] = field(default_factory=dict)  # newest batch by the tags it holds
    newest: Newest | None = None
    picked: int = 0  # the version that ``newest`` shows


class LiveBoard:
    """The Board that the running gateway writes."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._entries = {device.path: BoardEntry(device, device) for device in devices}
        self._changed = asyncio.Event()

    def configure(self, devices: Sequence[Device]) -> None:
        """From now on these devices are there. What is equal stays; a changed one keeps what its old tags said."""
        self._entries = {device.path: self._entry(device) for device in devices}
        self._changed.set()

    def learn(self, device: Device) -> None:
        """Take a configured device for what it has now said itself that it is."""
        before = self._entries[device.path]
        self._entries[device.path] = self._succeed(before, device, before.configured)
        self._changed.set()

    # ------------------------------------------------------------------------------------------------- writing

    def put(self, device: Device, batch: Batch) -> None:
        """The device just said this."""
        entry = self._entries[device.path]
        index = batch.shape.index
        before = entry.batches.get(index)
        if before is None:
            self._keep_small(entry)
        entry.batches.pop(index, None)  # so that the dictionary stays in order of time
        entry.batches[index] = batch
        entry.version += 1
        if batch.run != entry.run or batch.phase != entry.phase:
            entry.run, entry.phase = batch.run, batch.phase
            self._urge(entry)
        elif (before.status if before else None) != batch.status:
            self._urge(entry)

    def set_state(self, device: Device, state: State, error: str, time_ns: int) -> None:
        """The device is in this state from now on."""
        entry = self._entries[device.path]
        if (entry.state, entry.error) != (state, error):
            if entry.state != state:
                entry.since_ns = time_ns
            entry.state, entry.error = state, error
            self._urge(entry)

    def _urge(self, entry: BoardEntry) -> None:
        entry.urgency += 1
        self._changed.set()

    def _keep_small(self, entry: BoardEntry) -> None:
        """Devices that report by exception bring ever new selections of tags: fold them before they pile up."""
        if len(entry.batches) >= 64:
            self._pick(entry)
            entry.batches.clear()

    # ------------------------------------------------------------------------------------------------- reading

    def states(self) -> Sequence[BoardEntry]:
        """Every configured device, in configuration order."""
        return tuple(self._entries.values())

    def newest(self, device: Device) -> Newest:
        """What is known of each tag of ``device.tags``."""
        entry = self._entries[device.path]
        if entry.newest is None or entry.picked != entry.version:
            return self._pick(entry)
        return entry.newest

    def run(self, device: Device) -> tuple[str, str]:
        """(run, phase) that is open where the device stands; empty when none."""
        entry = self._entries[device.path]
        return entry.run, entry.phase

    def version(self, device: Device) -> int:
        """Grows with every new value of the device."""
        return self._entries[device.path].version

    def urgency(self, device: Device) -> int:
        """Grows with every change of quality or state of the device."""
        return self._entries[device.path].urgency

    async def changed(self) -> None:
        """Return when some urgency has grown since the call."""
        self._changed.clear()
        await self._changed.wait()

    def _entry(self, device: Device) -> BoardEntry:
        before = self._entries.get(device.path)
        if before is None:
            return BoardEntry(device, device)
        if before.configured == device:
            return before
        return self._succeed(before, device, device)

    def _succeed(self, before: BoardEntry, device: Device, configured: Device) -> BoardEntry:
        """The entry of a changed device: a tag that is as it was keeps what it said."""
        entry = BoardEntry(device, configured, run=before.run, phase=before.phase)
        if device.enabled == before.device.enabled:
            entry.state, entry.since_ns, entry.error = before.state, before.since_ns, before.error
            said = dict(zip(before.device.tags, self.newest(before.device).rows, strict=True))
            waiting = _nothing_yet(device)
            entry.newest = _columns([said.get(tag, waiting) for tag in device.tags])
        entry.version = entry.picked = before.version + 1
        entry.urgency = before.urgency + 1  # worth showing at once
        return entry

    def _pick(self, entry: BoardEntry) -> Newest:
        """Fold the newest batches into one. Nearly always the last one holds every tag: 2 µs, else 0.2 per value."""
        every = len(entry.device.tags)
        batches = list(entry.batches.values())
        if batches and len(batches[-1].values) == every and batches[-1].shape.index == tuple(range(every)):
            newest = Newest(*_said(batches[-1]))
        else:
            before = entry.newest or _columns([_nothing_yet(entry.device)] * every)
            columns: list[list[Any]] = [[*before.values], [*before.status], [*before.times_ns]]
            for batch in batches:
                for column, said in zip(columns, _said(batch), strict=True):
                    for i, what in zip(batch.shape.index, said, strict=True):
                        column[i] = what
            newest = Newest(*columns)
        entry.newest, entry.picked = newest, entry.version
        return newest


def _said(batch: Batch) -> tuple[tuple[Value, ...], tuple[int, ...], tuple[int, ...]]:
    count = len(batch.values)
    return batch.values, batch.status or (GOOD,) * count, batch.times_ns or (batch.time_ns,) * count


def _nothing_yet(device: Device) -> tuple[Value, int, int]:
    return None, Status.BAD_WAITING_FOR_INITIAL_DATA if device.enabled else Status.BAD_OUT_OF_SERVICE, 0


def _columns(rows: Sequence[tuple[Value, int, int]]) -> Newest:
    return Newest(*(list(column) for column in zip(*rows, strict=True))) if rows else Newest((), (), ())
