"""Subscriptions of one session: made at connect, then fed with publish requests until the link is lost.

In: groups of tags with resolved nodes. Out: Scans to ``emit``, one per notification and device. What the server
will not take is handed back, to be polled instead (F16).

asyncua's own subscriptions are not used: they start one task per value, request a keep-alive that comes after half an
hour, and let an iterator drop values silently. Here a notification is decoded as a whole, and publish requests are
always waiting at the server, one per subscription and one more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivers.opcua import plan
from drivers.opcua.decode import Slot, bad_scan, notification_scans
from drivers.opcua.failures import ServiceFault, of_status
from drivers.opcua.library import ua
from drivers.opcua.session import Session
from drivers.opcua.wire import Published
from gateway.core.clock import Clock
from gateway.core.errors import DriverError, ProtocolError, Unavailable
from gateway.core.model import Device, Group, Scan

log = logging.getLogger(__name__)

PUBLISH_REQUESTS_MOST = 10
TOO_MANY = frozenset(
    {
        ua.StatusCodes.BadTooManyOperations,
        ua.StatusCodes.BadTooManyMonitoredItems,
        ua.StatusCodes.BadTooManySubscriptions,
        ua.StatusCodes.BadRequestTooLarge,
        ua.StatusCodes.BadEncodingLimitsExceeded,
        ua.StatusCodes.BadResponseTooLarge,
    }
)
CANNOT = TOO_MANY | {
    ua.StatusCodes.BadServiceUnsupported,
    ua.StatusCodes.BadNotImplemented,
    ua.StatusCodes.BadNotSupported,
    ua.StatusCodes.BadOutOfMemory,
    ua.StatusCodes.BadResourceUnavailable,
}
_TOO_MANY_REQUESTS = frozenset({ua.StatusCodes.BadTooManyPublishRequests})
_TIMED_OUT = frozenset({ua.StatusCodes.BadTimeout})


def is_one_of(code: int, codes: frozenset[int]) -> bool:
    """Whether a StatusCode, whatever its info bits say, is among ``codes``."""
    return code & 0xFFFF_0000 in codes


@dataclass(slots=True)
class _Subscription:
    period_s: float
    silence_s: float  # the longest time without a sign of life
    heard_s: float  # loop time of the last one
    sequence: int = 0  # number of the last notification; 0: none yet


@dataclass(slots=True)
class Subscriptions:
    """All subscriptions of one session; used by one task."""

    session: Session
    clock: Clock
    devices: Sequence[Device]
    slots: list[Slot] = field(default_factory=list)  # by client handle
    failed: dict[int, dict[int, int]] = field(default_factory=dict)  # device → tag index → StatusCode
    overflows: int = 0  # values that came with the overflow bit: the server dropped some before them
    _active: dict[int, _Subscription] = field(default_factory=dict)
    _acknowledge: list[Any] = field(default_factory=list)
    _fetchers: int = 0  # publish requests at the server

    # ------------------------------------------------------------------------------------------------- making

    async def add(self, period_s: float, nodes: Mapping[Slot, Any]) -> list[Slot]:
        """Subscribe to these nodes at one rate; gives back the tags that the server does not take."""
        if not nodes:
            return []
        keep_alive = plan.keep_alive_count(period_s)
        request = ua.CreateSubscriptionRequest()
        request.Parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=period_s * 1000,
            RequestedLifetimeCount=keep_alive * plan.LIFETIMES,
            RequestedMaxKeepAliveCount=keep_alive,
            MaxNotificationsPerPublish=0,
            PublishingEnabled=True,
        )
        try:
            answer: Any = await self.session.call(request, ua.CreateSubscriptionResponse)
        except ServiceFault as e:
            if is_one_of(e.code, CANNOT):
                log.info("%s", e)
                return list(nodes)
            raise
        made = answer.Parameters
        interval_s = made.RevisedPublishingInterval / 1000
        self._active[made.SubscriptionId] = _Subscription(
            period_s=period_s,
            silence_s=interval_s * max(1, made.RevisedMaxKeepAliveCount) + self.session.timeout_s,
            heard_s=asyncio.get_running_loop().time(),
        )
        refused: list[Slot] = []
        for piece in plan.chunks(list(nodes.items()), plan.call_limit(self.session.items_per_call)):
            refused += await self._add_items(made.SubscriptionId, period_s, piece)
        return refused

    async def _add_items(self, subscription: int, period_s: float, items: Sequence[tuple[Slot, Any]]) -> list[Slot]:
        first = len(self.slots)
        request = ua.CreateMonitoredItemsRequest()
        request.Parameters = ua.CreateMonitoredItemsParameters(
            SubscriptionId=subscription,
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            ItemsToCreate=[_item(node, first + i, period_s) for i, (_, node) in enumerate(items)],
        )
        self.slots.extend(slot for slot, _ in items)  # the first values may come before the answer
        try:
            answer: Any = await self.session.call(request, ua.CreateMonitoredItemsResponse)
        except ServiceFault as e:
            if not is_one_of(e.code, TOO_MANY):
                raise
            if len(items) == 1:
                return [items[0][0]]
            half = len(items) // 2
            refused = await self._add_items(subscription, period_s, items[:half])
            return refused + await self._add_items(subscription, period_s, items[half:])
        if len(answer.Results) != len(items):
            raise ProtocolError(f"{self.session.peer}: asked for {len(items)} items, got {len(answer.Results)}")
        refused = []
        for (slot, _), result in zip(items, answer.Results, strict=True):
            code = result.StatusCode.value
            if is_one_of(code, CANNOT):
                refused.append(slot)
            elif not result.StatusCode.is_good():
                self.failed.setdefault(slot.device, {})[slot.index] = code
        return refused

    # ------------------------------------------------------------------------------------------------ hearing

    async def listen(self, emit: Callable[[Scan], None]) -> None:
        """Emit what the server tells, for ever; raises DriverError when the link is lost."""
        now_ns = self.clock.time_ns()
        for device, failed in sorted(self.failed.items()):
            emit(bad_scan(self.devices[device], failed, now_ns))
        heard_s = asyncio.get_running_loop().time()
        for active in self._active.values():
            active.heard_s = heard_s
        try:
            async with asyncio.TaskGroup() as tasks:
                link = self.session.peer.link
                tasks.create_task(self._watch(), name=f"{link}: watch")
                self._fetchers = min(len(self._active) + 1, PUBLISH_REQUESTS_MOST) if self._active else 0
                for n in range(self._fetchers):
                    tasks.create_task(self._fetch(emit), name=f"{link}: publish {n}")
        except BaseExceptionGroup as group:
            expected, bugs = group.split(DriverError)
            if bugs is not None or expected is None:
                raise
            raise expected.exceptions[0] from None

    async def _watch(self) -> None:
        """Raise when a subscription gave no sign of life for longer than the server promised (F19)."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = min((s.heard_s + s.silence_s for s in self._active.values()), default=loop.time() + 3600)
            if due_s <= loop.time():
                raise Unavailable(f"{self.session.peer}: the server has stopped telling values")
            await asyncio.sleep(due_s - loop.time())

    async def _fetch(self, emit: Callable[[Scan], None]) -> None:
        """Keep one publish request at the server; ends when the server has too many of them, unless it is the last."""
        while True:
            acknowledge, self._acknowledge = self._acknowledge, []
            try:
                answer = await self.session.publish(acknowledge)
            except ServiceFault as e:
                if is_one_of(e.code, _TOO_MANY_REQUESTS) and self._fetchers > 1:
                    self._fetchers -= 1
                    self._acknowledge += acknowledge
                    return
                if is_one_of(e.code, _TIMED_OUT):
                    continue
                raise
            self._take(answer, emit)

    def _take(self, answer: Published, emit: Callable[[Scan], None]) -> None:
        """One PublishResponse: notifications, or a sign of life."""
        received_ns = self.clock.time_ns()
        active = self._active.get(answer.subscription)
        if active is None:
            return  # of a session before this one
        active.heard_s = asyncio.get_running_loop().time()
        if not answer.told:
            return
        self._acknowledge.append(
            ua.SubscriptionAcknowledgement(SubscriptionId=answer.subscription, SequenceNumber=answer.sequence)
        )
        self._check_sequence(active, answer.sequence)
        for data in answer.data:
            scans, overflows = notification_scans(self.devices, self.slots, data, received_ns)
            if overflows:
                self._count_overflows(overflows, active)
            for scan in scans:
                emit(scan)
        if answer.changed is not None:
            raise of_status(self.session.peer, answer.changed)

    def _check_sequence(self, active: _Subscription, number: int) -> None:
        if active.sequence and number != active.sequence % 0xFFFF_FFFF + 1:
            log.warning("%s: notifications %d to %d are missing", self.session.peer, active.sequence + 1, number - 1)
        active.sequence = number

    def _count_overflows(self, count: int, active: _Subscription) -> None:
        if not self.overflows:
            log.warning(
                "%s: the queues of the server ran over at a period of %g s, values between are lost (said once)",
                self.session.peer,
                active.period_s,
            )
        self.overflows += count


def _item(node: Any, handle: int, period_s: float) -> Any:
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=handle,
            SamplingInterval=period_s * 1000,
            QueueSize=plan.queue_size(period_s),
            DiscardOldest=True,
        ),
    )


def without(group: Group, slots: Sequence[Slot], device: int) -> tuple[Group | None, Group | None]:
    """The group split into what stays pushed and what the server did not take."""
    gone = {slot.index for slot in slots if slot.device == device}
    refused = tuple(i for i in group.index if i in gone)
    if not refused:
        return group, None
    kept = tuple(i for i in group.index if i not in gone)
    return (
        Group(group.device, kept, group.period_ns) if kept else None,
        Group(group.device, refused, group.period_ns),
    )
