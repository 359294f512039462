"""Read requests that are sent again and again: their nodes are encoded once.

asyncua encodes every request anew, which for a thousand nodes costs more than the answer. ``send`` does what its
``send_request`` does, with the bytes at hand; tests/unit/opcua/test_library.py fails when asyncua changes there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from drivers.opcua.library import struct_to_binary, ua

_READ_REQUEST = b"\x01\x00" + ua.ObjectIds.ReadRequest_Encoding_DefaultBinary.to_bytes(2, "little")


class ReadRequest:
    """A request for the values, or another attribute, of some nodes, with both times."""

    def __init__(self, nodes: Sequence[Any], attribute: int = ua.AttributeIds.Value) -> None:
        request = ua.ReadRequest()
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=attribute) for node in nodes]
        self.count = len(nodes)
        self._header = request.RequestHeader
        self._parameters: bytes = struct_to_binary(request.Parameters)

    async def send(self, protocol: Any, timeout_s: float) -> Any:
        """Send over asyncua's protocol; the body of the answer. Raises as ``protocol.send_request`` does.

        Waits without end: ``timeout_s`` is what the server is told.
        """
        if protocol.transport is None:
            raise ConnectionError("the connection is not open")
        self._header.Timestamp = datetime.now(UTC)
        protocol._setup_request_header(self._header, timeout_s)  # noqa: SLF001 – see above
        number = protocol._request_id + 1  # noqa: SLF001
        protocol.revolve_security_token()
        encoded = _READ_REQUEST + struct_to_binary(self._header) + self._parameters
        message = protocol._connection.message_to_binary(encoded, request_id=number)  # noqa: SLF001
        protocol._request_id = number  # noqa: SLF001
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        protocol._callbackmap[number] = answer  # noqa: SLF001
        protocol.transport.write(message)
        data = await answer
        protocol.check_answer(data, " in response to a read")
        return data
