"""The newest values and states of everything: what the API and the live lanes look at.

In: every batch, as it is made, and the states the acquire tasks report. Out: core.contracts.Board.
A batch costs one dictionary entry here; values are only picked apart when somebody looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.core.contracts import Newest
from gateway.core.model import Batch, Device
from gateway.core.quality import GOOD, Status
from gateway.health import State


@dataclass(slots=True)
class BoardEntry:
    """One device."""

    device: Device
    state: State = State.CONNECTING
    since_ns: int = 0
    error: str = ""
    run: str = ""
    phase: str = ""
    version: int = 0
    urgency: int = 0
    batches: dict[tuple[int, ...], Batch] = field(default_factory=dict)  # newest batch by the tags it holds
    newest: list[Newest] = field(default_factory=list)
    picked: int = 0  # the version that ``newest`` shows


class LiveBoard:
    """The Board that the running gateway writes."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._entries = {device.path: BoardEntry(device) for device in devices}
        self._changed = asyncio.Event()

    def configure(self, devices: Sequence[Device]) -> None:
        """From now on these devices are there. What is equal stays; a changed one keeps what its old tags said."""
        self._entries = {device.path: self._entry(device) for device in devices}
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

    def newest(self, device: Device) -> Sequence[Newest]:
        """(m,) one per tag of ``device.tags``."""
        entry = self._entries[device.path]
        if entry.picked != entry.version or not entry.newest:
            self._pick(entry)
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
            return BoardEntry(device)
        if before.device == device:
            return before
        entry = BoardEntry(device, run=before.run, phase=before.phase)
        if device.enabled == before.device.enabled:
            entry.state, entry.since_ns, entry.error = before.state, before.since_ns, before.error
            said = dict(zip(before.device.tags, self.newest(before.device), strict=True))
            entry.newest = [said.get(tag) or _nothing_yet(device) for tag in device.tags]
        entry.version = entry.picked = before.version + 1
        entry.urgency = before.urgency + 1  # worth showing at once
        return entry

    def _pick(self, entry: BoardEntry) -> None:
        newest = entry.newest or [_nothing_yet(entry.device) for _ in entry.device.tags]
        for batch in entry.batches.values():
            status, times = batch.status, batch.times_ns
            for position, i in enumerate(batch.shape.index):
                newest[i] = Newest(
                    batch.values[position],
                    status[position] if status else GOOD,
                    times[position] if times else batch.time_ns,
                )
        entry.newest = newest
        entry.picked = entry.version


def _nothing_yet(device: Device) -> Newest:
    return Newest(None, Status.BAD_WAITING_FOR_INITIAL_DATA if device.enabled else Status.BAD_OUT_OF_SERVICE, 0)
