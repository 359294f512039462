"""What this package relies on inside asyncua and what the standard does not promise: fails when asyncua changes."""

from __future__ import annotations

import inspect
import logging

import pytest

from drivers.opcua.failures import Peer, ServiceFault, of_status, translated
from drivers.opcua.library import Client, InvalidSignature, ua
from drivers.opcua.quiet import Throttle, hush
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
