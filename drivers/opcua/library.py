"""asyncua, as this package uses it. Its own type hints reject what its own examples do, so it enters untyped, and here.

``asyncua>=2.1,<2.2`` is pinned: ``session`` relies on ``client.uaclient.protocol.send_request``, which is public but
hardly documented; tests/unit/opcua/test_library.py fails when it changes.
"""

from __future__ import annotations

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
SecurityPolicyBasic256Sha256: Any = asyncua.crypto.security_policies.SecurityPolicyBasic256Sha256
InvalidSignature: Any = asyncua.crypto.uacrypto.InvalidSignature  # type: ignore[attr-defined]
struct_from_binary: Any = asyncua.ua.ua_binary.struct_from_binary
