"""Subscriptions with a server that is played by a few lines: what real ones do not do on demand."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, cast

import pytest

from drivers.opcua.decode import Slot
from drivers.opcua.failures import Peer, ServiceFault, of_status
from drivers.opcua.library import ua
from drivers.opcua.session import Session
from drivers.opcua.subscribe import Subscriptions, without
from drivers.opcua.wire import published_of
from gateway.core.clock import SystemClock
from gateway.core.errors import Unavailable
from gateway.core.model import Device, Group, Kind, Scan, Tag
from gateway.core.quality import Status

DEVICE = Device("site", "line", "plc", tuple(Tag(f"t{n}", Kind.INT, None) for n in range(10)))
PEER = Peer("plc", "opc.tcp://plc")
CODES = ua.StatusCodes


class Server:
    """Stands in for a Session: grants what it is told to, answers publish requests from a list, then stays silent."""

    def __init__(
        self, *, items_most: int = 100, answers: tuple[Any, ...] = (), bad: dict[int, int] | None = None
    ) -> None:
        self.peer, self.timeout_s, self.items_per_call = PEER, 0.05, None
        self.calls: list[Any] = []
        self.publishes = 0
        self.acknowledged: list[int] = []
        self._items_most, self._bad = items_most, bad or {}
        self._answers = deque(answers)

    async def call(self, request: Any, kind: Any) -> Any:
        self.calls.append(request)
        if isinstance(request, ua.CreateSubscriptionRequest):
            answer = ua.CreateSubscriptionResponse()
            answer.Parameters.SubscriptionId = 1
            answer.Parameters.RevisedPublishingInterval = request.Parameters.RequestedPublishingInterval
            answer.Parameters.RevisedMaxKeepAliveCount = request.Parameters.RequestedMaxKeepAliveCount
            return answer
        items = request.Parameters.ItemsToCreate
        if len(items) > self._items_most:
            raise of_status(PEER, CODES.BadTooManyOperations)
        answer = ua.CreateMonitoredItemsResponse()
        answer.Results = [
            ua.MonitoredItemCreateResult(
                StatusCode=ua.StatusCode(self._bad.get(item.ItemToMonitor.NodeId.Identifier, 0))
            )
            for item in items
        ]
        return answer

    async def publish(self, acknowledge: list[Any]) -> Any:
        self.publishes += 1
        self.acknowledged += [each.SequenceNumber for each in acknowledge]
        if not self._answers:
            await asyncio.Event().wait()
        answer = self._answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return published_of(answer)


def notification(sequence: int, *items: tuple[int, int], status: int = 0) -> Any:
    answer = ua.PublishResponse()
    answer.Parameters.SubscriptionId = 1
    answer.Parameters.NotificationMessage.SequenceNumber = sequence
    made = [
        ua.MonitoredItemNotification(
            ClientHandle=handle,
            Value=ua.DataValue(ua.Variant(value, ua.VariantType.Int32), StatusCode=ua.StatusCode(status)),
        )
        for handle, value in items
    ]
    answer.Parameters.NotificationMessage.NotificationData = (
        [ua.DataChangeNotification(MonitoredItems=made)] if made else []
    )
    return answer


async def subscribed(server: Server, period_s: float = 0.01, tags: int = 10) -> tuple[Subscriptions, list[Slot]]:
    subscriptions = Subscriptions(cast(Session, server), SystemClock(), (DEVICE,))
    refused = await subscriptions.add(period_s, {Slot(0, n): ua.NodeId(n, 1) for n in range(tags)})
    return subscriptions, refused


async def listen(subscriptions: Subscriptions) -> tuple[list[Scan], Unavailable]:
    scans: list[Scan] = []
    with pytest.raises(Unavailable) as caught:
        async with asyncio.timeout(5):
            await subscriptions.listen(scans.append)
    return scans, caught.value


async def test_what_is_asked_for() -> None:
    server = Server()
    await subscribed(server, period_s=0.5, tags=2)
    create, items = (request.Parameters for request in server.calls)
    assert (create.RequestedPublishingInterval, create.RequestedMaxKeepAliveCount) == (500, 10)
    assert create.RequestedLifetimeCount == 300
    wanted = [item.RequestedParameters for item in items.ItemsToCreate]
    assert [(each.SamplingInterval, each.QueueSize, each.DiscardOldest) for each in wanted] == [(500, 20, True)] * 2
    assert items.TimestampsToReturn == ua.TimestampsToReturn.Both


@pytest.mark.parametrize("items_most", [1, 3, 9])
async def test_f16_calls_are_halved_until_the_server_takes_them(items_most: int) -> None:
    server = Server(items_most=items_most, answers=(notification(1, *((n, n) for n in range(40))),))
    subscriptions, refused = await subscribed(server)
    assert refused == []
    taken = [len(call.Parameters.ItemsToCreate) for call in server.calls[1:]]
    assert sum(count for count in taken if count <= items_most) == 10
    by_handle = {
        item.RequestedParameters.ClientHandle: item.ItemToMonitor.NodeId.Identifier
        for call in server.calls[1:]
        for item in call.Parameters.ItemsToCreate
        if len(call.Parameters.ItemsToCreate) <= items_most
    }
    assert all(subscriptions.slots[handle] == Slot(0, node) for handle, node in by_handle.items())


async def test_f16_what_does_not_fit_is_handed_back_and_what_is_wrong_is_said_once() -> None:
    server = Server(bad={3: CODES.BadTooManyMonitoredItems, 5: CODES.BadNodeIdUnknown, 6: CODES.BadUserAccessDenied})
    subscriptions, refused = await subscribed(server)
    assert refused == [Slot(0, 3)]
    scans, _ = await listen(subscriptions)
    assert [(scan.index, scan.values, scan.status) for scan in scans] == [
        ((5, 6), (None, None), (Status.BAD_NODE_ID_UNKNOWN, CODES.BadUserAccessDenied))
    ]
    group = Group(DEVICE, tuple(range(10)), 1)
    kept, gone = without(group, refused, 0)
    assert kept
    assert gone
    assert (kept.index, gone.index) == ((0, 1, 2, 4, 5, 6, 7, 8, 9), (3,))
    assert without(group, [], 0) == (group, None)


async def test_f19_silence_is_noticed_and_a_sign_of_life_is_none() -> None:
    server = Server(answers=(notification(1, (0, 1)), notification(2), notification(2, (0, 2))))
    subscriptions, _ = await subscribed(server)
    begin = asyncio.get_running_loop().time()
    scans, error = await listen(subscriptions)
    assert "stopped telling" in str(error)
    assert [scan.values for scan in scans] == [(1,), (2,)]
    # ten intervals of 10 ms without news, plus the timeout
    assert 0.1 <= asyncio.get_running_loop().time() - begin < 2
    assert server.acknowledged == [1, 2]


async def test_publish_requests_are_waiting_and_fewer_where_the_server_takes_fewer() -> None:
    server = Server(answers=(of_status(PEER, CODES.BadTooManyPublishRequests), notification(1, (0, 7))))
    subscriptions, _ = await subscribed(server)
    scans, _ = await listen(subscriptions)
    assert [scan.values for scan in scans] == [(7,)]
    assert server.publishes == 3  # one refused, one answered, one waiting


@pytest.mark.parametrize(
    "answer", [of_status(PEER, CODES.BadNoSubscription), of_status(PEER, CODES.BadSessionIdInvalid)]
)
async def test_f15_a_lost_subscription_or_session_ends_it(answer: ServiceFault) -> None:
    subscriptions, _ = await subscribed(Server(answers=(answer,)))
    _, error = await listen(subscriptions)
    assert error is answer


async def test_f15_the_server_says_that_the_subscription_is_gone() -> None:
    answer = notification(1)
    gone = ua.StatusChangeNotification(Status=ua.StatusCode(CODES.BadTimeout))
    answer.Parameters.NotificationMessage.NotificationData = [gone]
    subscriptions, _ = await subscribed(Server(answers=(answer,)))
    _, error = await listen(subscriptions)
    assert "BadTimeout" in str(error)


async def test_f20_an_overflow_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    answers = tuple(notification(n, (0, n), (1, n), status=0x480) for n in (1, 2, 3))
    subscriptions, _ = await subscribed(Server(answers=answers))
    with caplog.at_level(logging.WARNING):
        scans, _ = await listen(subscriptions)
    assert subscriptions.overflows == 6
    assert [scan.status for scan in scans] == [(0x480, 0x480)] * 3
    assert [record.message for record in caplog.records if "ran over" in record.message] != []
    assert len([record for record in caplog.records if "ran over" in record.message]) == 1


async def test_f15_missing_notifications_are_said(caplog: pytest.LogCaptureFixture) -> None:
    subscriptions, _ = await subscribed(Server(answers=(notification(1, (0, 1)), notification(4, (0, 4)))))
    with caplog.at_level(logging.WARNING):
        await listen(subscriptions)
    assert any("notifications 2 to 3 are missing" in record.message for record in caplog.records)


async def test_a_bug_in_emit_is_not_hidden() -> None:
    subscriptions, _ = await subscribed(Server(answers=(notification(1, (0, 1)),)))

    def emit(scan: Scan) -> None:
        raise ZeroDivisionError

    with pytest.raises(BaseExceptionGroup) as caught:
        await subscriptions.listen(emit)
    assert caught.group_contains(ZeroDivisionError)
