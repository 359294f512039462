"""What every stage counts, and how it is doing: written by the stage that owns it, read by API, metrics and MQTT.

Plain numbers that one task increments; nothing here is on the way of a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """How a link, a device or a sink is doing."""

    CONNECTING = "connecting"  # not reached yet, or being reached again
    ONLINE = "online"
    DEGRADED = "degraded"  # works, but not all of it
    OFFLINE = "offline"


@dataclass(slots=True)
class LinkHealth:
    """One link: written by its acquire task."""

    id: str
    type: str
    state: State = State.CONNECTING
    since_ns: int = 0
    error: str = ""  # the last error as a sentence; empty while all is well
    connects: int = 0  # successful connects
    failures: int = 0  # connects and conversations that failed
    scans: int = 0
    readings: int = 0
    silent: int = 0  # polls that a device did not answer
    overruns: int = 0  # slots missed because the one before took too long
    overflows: int = 0  # values that came with a server's word that it had dropped some before them


@dataclass(slots=True)
class SinkHealth:
    """One sink: written by its publish task. Readings since the gateway's start."""

    name: str
    type: str
    state: State = State.CONNECTING
    since_ns: int = 0
    error: str = ""
    connects: int = 0
    failures: int = 0
    writes: int = 0
    delivered_records: int = 0
    delivered_readings: int = 0
    dead_records: int = 0
    dead_readings: int = 0
    last_delivery_ns: int = 0
    history: bool = False  # catching up


@dataclass(slots=True)
class ConfigHealth:
    """What is known of the configuration files: written where they are loaded."""

    loaded_ns: int = 0  # when what is in force was read
    reloads: int = 0  # that worked, also those that found nothing to do
    refused: int = 0  # that found mistakes, so that the old configuration stayed
    error: str = ""  # why the newest files are not in force; empty when they are
    needs_restart: tuple[str, ...] = ()  # what of the files is not in force before a restart


@dataclass(slots=True)
class ClockHealth:
    """The wall clock, judged by the monotonic one and by the kernel: written by the clock watch."""

    synchronised: bool | None = None  # whether the kernel says so; None: it cannot be asked
    offset_s: float | None = None  # what the kernel still has to correct
    steps: int = 0  # times it was set while the gateway ran
    last_step_s: float | None = None  # by how much, forward positive
    last_step_ns: int = 0  # when, by the new time


@dataclass(slots=True)
class Health:
    """All of it."""

    gateway: str
    boot: str
    version: str
    started_ns: int
    links: dict[str, LinkHealth] = field(default_factory=dict)
    sinks: dict[str, SinkHealth] = field(default_factory=dict)
    config: ConfigHealth = field(default_factory=ConfigHealth)
    clock: ClockHealth = field(default_factory=ClockHealth)
    filtered: int = 0  # readings that normalise left out because they lay within the deadband
