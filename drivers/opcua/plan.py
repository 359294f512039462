"""What a session will ask for: how many nodes go into one call, how fast, how deep the server's queues. Pure.

In: tags and their periods. Out: numbers for the requests, and rows for ``pilot-gateway check``. Imports no library, so
that ``check`` stays fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

from drivers.opcua.options import OpcUaDevice
from gateway.core.contracts import PlanRow
from gateway.core.model import Device, Link, groups

CALL_LIMIT = 500  # nodes in one call where the server does not say how many it takes; S7-1500 takes 500
QUEUE_S = 10.0  # how long the server must be able to keep samples that nobody fetches
QUEUE_LEAST, QUEUE_MOST = 10, 1000  # samples
KEEP_ALIVE_COUNT = 10  # publishing intervals without news after which the server says that it is alive
KEEP_ALIVE_S = 10.0  # but it says so this often at least, or once per interval
LIFETIMES = 30  # keep-alives without a publish request after which the server drops the subscription

T = TypeVar("T")


def subscribes(device: Device) -> bool:
    """Whether the tags of the device are pushed by the server."""
    return not (isinstance(device.options, OpcUaDevice) and device.options.mode == "poll")


def call_limit(told: int | None) -> int:
    """Nodes in one call to a server that told this OperationLimit (None: none at all; 0: no limit)."""
    return min(told, CALL_LIMIT) if told else CALL_LIMIT


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in pieces of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def queue_size(period_s: float) -> int:
    """Samples that the server should queue per item, so that a stall of ``QUEUE_S`` overwrites nothing.

    >>> queue_size(0.1), queue_size(60), queue_size(0.001)
    (100, 10, 1000)
    """
    return max(QUEUE_LEAST, min(QUEUE_MOST, math.ceil(QUEUE_S / period_s)))


def keep_alive_count(period_s: float) -> int:
    """Publishing intervals without news after which the server shall say that it is alive.

    >>> keep_alive_count(0.1), keep_alive_count(5), keep_alive_count(60)
    (10, 2, 1)
    """
    return max(1, min(KEEP_ALIVE_COUNT, int(KEEP_ALIVE_S / period_s)))


def describe(link: Link) -> tuple[PlanRow, ...]:
    """The requests that the link will make."""
    rows = []
    for device in link.devices:
        for group in groups(device) if device.enabled else ():
            count, period_s = len(group.index), group.period_ns / 1e9
            calls = math.ceil(count / CALL_LIMIT)
            if subscribes(device):
                request = f"subscribe {count} items"
            else:
                request = f"read {count} nodes" if calls == 1 else f"read {count} nodes in {calls} calls"
            rows.append(PlanRow(device.id, period_s, request, count))
    return tuple(rows)
