"""What this package relies on inside asyncua and what the standard does not promise: fails when asyncua changes."""

from __future__ import annotations

import asyncio
import inspect
import logging

import pytest

from drivers.opcua.failures import Peer, ServiceFault, of_status, translated
from drivers.opcua.library import Buffer, Client, InvalidSignature, struct_to_binary, ua
from drivers.opcua.quiet import Throttle, hush
from drivers.opcua.requests import ReadRequest
from gateway.core.errors import DriverError, ProtocolError, Refused, Unavailable

PEER = Peer("plc", "opc.tcp://10.0.0.5:4840")


def test_the_hooks_are_where_they_were() -> None:
    client = Client("opc.tcp://127.0.0.1:1")
    assert client.uaclient.protocol is None
    protocol = client.uaclient._make_protocol()
    assert list(inspect.signature(protocol.send_request).parameters) == ["request", "timeout", "message_type"]
    for name in ("connect_socket", "send_hello", "open_secure_channel", "create_session", "activate_session"):
        assert inspect.iscoroutinefunction(getattr(client, name)), name
    assert client.certificate_validator is None, "asyncua trusts everyone, so the driver judges by itself"


class _Wire:
    """Stands in for a transport: keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


async def test_a_read_that_was_encoded_once_is_what_asyncua_would_send() -> None:
    nodes = [ua.NodeId("a", 2), ua.NodeId(7, 3), ua.NodeId(2258)]
    theirs = ua.ReadRequest()
    theirs.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    theirs.Parameters.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=13) for node in nodes]
    ours = ReadRequest(nodes)
    sent = []
    for send in (lambda protocol: protocol.send_request(theirs, 3), lambda protocol: ours.send(protocol, 3)):
        protocol = Client("opc.tcp://127.0.0.1:1").uaclient._make_protocol()
        protocol.pre_request_hook = None  # asks whether the client is connected
        protocol.transport = wire = _Wire()
        protocol.authentication_token = ua.NodeId("token", 1)
        for n in (1, 2):
            task = asyncio.create_task(send(protocol))
            while len(wire.written) < n:
                await asyncio.sleep(0)
                if task.done():
                    task.result()
            answer = struct_to_binary(ua.ReadResponse())
            protocol._call_callback(n, Buffer(answer))
            assert bytes(await task) == answer
        sent.append(wire.written)
    stamp = struct_to_binary(theirs.RequestHeader)[10:18]  # the only thing that may differ
    assert stamp in sent[0][0]
    at = sent[0][0].index(stamp)
    assert [raw[:at] + raw[at + 8 :] for raw in sent[0]] == [raw[:at] + raw[at + 8 :] for raw in sent[1]]


async def test_a_refused_read_and_a_closed_connection_are_told() -> None:
    protocol = Client("opc.tcp://127.0.0.1:1").uaclient._make_protocol()
    request = ReadRequest([ua.NodeId(1)])
    with pytest.raises(ConnectionError):
        await request.send(protocol, 1)
    protocol.transport = _Wire()
    task = asyncio.create_task(request.send(protocol, 1))
    await asyncio.sleep(0)
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadSessionIdInvalid)
    protocol._call_callback(1, Buffer(struct_to_binary(fault)))
    with pytest.raises(ua.UaStatusCodeError):
        await task


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (TimeoutError(), Unavailable, "opc.tcp://10.0.0.5:4840 does not answer in time: is the server switched on"),
        (ConnectionRefusedError(), Unavailable, "nothing listens at opc.tcp://10.0.0.5:4840: is the server"),
        (ConnectionResetError("reset"), Unavailable, "the connection is lost"),
        (OSError(113, "No route to host"), Unavailable, "No route to host"),
        (ua.UaStatusCodeError(ua.StatusCodes.BadUserAccessDenied), Refused, "check username and password"),
        (ua.UaStatusCodeError(ua.StatusCodes.BadCertificateUntrusted), Refused, "trust it on the server"),
        (ua.UaStatusCodeError(ua.StatusCodes.BadTooManyOperations), ServiceFault, "BadTooManyOperations"),
        (ua.UaError("nonsense"), ProtocolError, "nonsense"),
        (InvalidSignature(), ProtocolError, "not signed by the server"),
        (Refused("as it was"), Refused, "as it was"),
    ],
)
def test_errors_become_ours_with_a_sentence(error: Exception, kind: type[DriverError], says: str) -> None:
    with pytest.raises(kind) as caught, translated(PEER):
        raise error
    assert says in str(caught.value)


def test_a_bug_is_not_translated() -> None:
    with pytest.raises(ZeroDivisionError), translated(PEER):
        raise ZeroDivisionError


def test_an_unknown_code_is_unavailable() -> None:
    assert isinstance(of_status(PEER, 0x8FFF_0000), Unavailable)


def test_the_library_is_heard_once_and_without_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    hush()
    hush()
    library = logging.getLogger("asyncua")
    assert sum(isinstance(handler, Throttle) for handler in library.handlers) == 1
    assert not library.propagate
    out = logging.getLogger("test.quiet")
    throttle = Throttle(out)
    for n in range(5):
        record = logging.LogRecord("asyncua.x", logging.ERROR, __file__, 1, "down for the %dth time", (n,), None)
        throttle.handle(record)
    assert [record.getMessage() for record in caplog.records] == ["asyncua: down for the 0th time"]
    assert caplog.records[0].levelno == logging.WARNING
