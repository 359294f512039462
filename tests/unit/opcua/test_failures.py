"""What is an error of the field, and what a mistake of ours."""

from __future__ import annotations

import pytest
from asyncua.client.ua_client import UASocketProtocol

from drivers.opcua.failures import Peer, translated
from drivers.opcua.library import Buffer
from gateway.core.errors import ProtocolError

PEER = Peer("plc", "opc.tcp://plc")


def test_what_asyncua_says_of_bytes_that_are_no_answer_is_a_protocol_error() -> None:
    """It would end the gateway otherwise: struct.error is no error of the field by itself."""
    with pytest.raises(ProtocolError, match="makes no sense"), translated(PEER):
        UASocketProtocol.check_answer(None, Buffer(b"\x83\x00\x00"), "")  # type: ignore[arg-type]


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(TypeError, match="ours"), translated(PEER):
        raise TypeError("ours")
