"""asyncua, as this package uses it. Its own type hints reject what its own examples do, so it enters untyped, and here.

``asyncua>=2.1,<2.2`` is pinned: ``session`` relies on ``client.uaclient.protocol.send_request``, which is public but
hardly documented, ``requests`` on what is inside of it; tests/unit/opcua/test_library.py fails when they change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncua
import asyncua.client.client
import asyncua.crypto.cert_gen
import asyncua.crypto.security_policies
import asyncua.crypto.uacrypto
import asyncua.server.server
import asyncua.ua.ua_binary
from asyncua.common.callback import CallbackType as _CallbackType

ua: Any = asyncua.ua
Client: Any = asyncua.client.client.Client
Server: Any = asyncua.server.server.Server
CallbackType: Any = _CallbackType
cert_gen: Any = asyncua.crypto.cert_gen
SECURITY_POLICIES: Mapping[str, Any] = {
    "Basic256Sha256": asyncua.crypto.security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": asyncua.crypto.security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": asyncua.crypto.security_policies.SecurityPolicyAes256Sha256RsaPss,
}
InvalidSignature: Any = asyncua.crypto.uacrypto.InvalidSignature  # type: ignore[attr-defined]
struct_from_binary: Any = asyncua.ua.ua_binary.struct_from_binary
struct_to_binary: Any = asyncua.ua.ua_binary.struct_to_binary
variant_from_binary: Any = asyncua.ua.ua_binary.variant_from_binary
unpack_builtin: Any = asyncua.ua.ua_binary.unpack_uatype
Buffer: Any = asyncua.ua.utils.Buffer  # type: ignore[attr-defined]


class _Nothing:
    """In place of asyncua's codec of the type Null, which has no bytes: an array of 2^31 of them fits into ten.

    Elements of an array are decoded at one and the same place of a message, which is how they are noticed.
    """

    MOST = 10_000

    def __init__(self) -> None:
        self._place: tuple[Any, int] = (None, 0)
        self._count = 0

    def pack(self, data: object) -> bytes:
        return b""

    def unpack(self, data: Any) -> None:
        message, position = self._place
        if data is not message or data.cur_pos != position:
            self._place, self._count = (data, data.cur_pos), 0
        self._count += 1
        if self._count > self.MOST:
            raise ua.UaError("an array of nothing")


asyncua.ua.ua_binary.Primitives.Null = _Nothing()  # type: ignore[assignment]
