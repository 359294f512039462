"""One OPC UA session over asyncua: socket, secure channel, session, and the calls a driver makes.

In: the options of a link. Out: bytes from the server, for ``decode``. What asyncua would do in the background by itself
(reconnecting, its own publish loop, its supervisor) is left unused: the driver's owner decides about those. What
stays is one task that keeps the session alive and notices a dead peer; ``close`` ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from drivers.opcua import pki, trust
from drivers.opcua.failures import Peer, translated
from drivers.opcua.library import SECURITY_POLICIES, Buffer, Client, ua
from drivers.opcua.options import OpcUa
from drivers.opcua.requests import ReadRequest
from drivers.opcua.users import User, user_of
from drivers.opcua.wire import Columns, Published, published, read_results, response
from gateway.core.errors import DriverError, ProtocolError, Refused, Unavailable

log = logging.getLogger(__name__)

DEFAULT_PORT = 4840  # of opc.tcp, IANA
CHANNEL_S = 3600.0  # how long a security token should be valid
RENEW_AFTER = 0.75  # of that time (Part 4, 5.5.2)
CONNECT_TIMEOUTS = 4  # connecting takes at most this many times timeout_s
CLOSE_S = 1.0  # for a polite goodbye
HEALTHY = 200  # service levels from here on (Part 4, 6.6.2.4.2)

NAMESPACES = ua.NodeId(ua.ObjectIds.Server_NamespaceArray)
SERVER_STATE = ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)
SERVICE_LEVEL = ua.NodeId(ua.ObjectIds.Server_ServiceLevel)
LIMITS = tuple(
    ua.NodeId(getattr(ua.ObjectIds, f"Server_ServerCapabilities_OperationLimits_{name}"))
    for name in ("MaxNodesPerRead", "MaxMonitoredItemsPerCall", "MaxNodesPerTranslateBrowsePathsToNodeIds")
)

T = TypeVar("T")


class Session:
    """An activated session; made by :func:`open_session`."""

    def __init__(self, peer: Peer, options: OpcUa, client: Any) -> None:
        self.peer = peer
        self.namespaces: tuple[str, ...] = ()
        self.nodes_per_read: int | None = None  # OperationLimits as the server tells them; 0: none
        self.items_per_call: int | None = None
        self.nodes_per_translate: int | None = None
        self.service_level = 255  # how healthy the server says it is, 0 … 255; as a server alone where it says nothing
        self._client = client
        self._replaceable = bool(options.also)
        self.timeout_s = options.timeout_s
        self._lost: DriverError | None = None
        self._keeper = asyncio.create_task(self._keep(), name=f"{peer.link}: keep the session")

    # ------------------------------------------------------------------------------------------------- calls

    async def call(self, request: Any, kind: type[T]) -> T:
        """The answer to one request, within ``timeout_s``. Raises DriverError."""
        return await self._exchange(
            lambda protocol: protocol.send_request(request, self.timeout_s),
            lambda raw: self._checked(raw, kind),
            self.timeout_s,
        )

    async def publish(self, acknowledge: list[Any]) -> Published:
        """The next PublishResponse of any subscription; waits as long as it takes: the caller watches over it."""
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = acknowledge
        return await self._exchange(lambda protocol: protocol.send_request(request, 0), published, None)

    async def read(self, request: ReadRequest) -> Columns:
        """The DataValues that a request asks for, one per node."""
        columns = await self._exchange(
            lambda protocol: request.send(protocol, self.timeout_s), read_results, self.timeout_s
        )
        if len(columns) != request.count:
            raise ProtocolError(f"{self.peer}: asked for {request.count} nodes, got {len(columns)}")
        return columns

    async def _exchange(
        self,
        send: Callable[[Any], Awaitable[Any]],
        decode: Callable[[bytes], T],
        timeout_s: float | None,
    ) -> T:
        try:
            with translated(self.peer):
                async with deadline(timeout_s):
                    data = await send(self._protocol())
                return decode(bytes(data))
        except Unavailable as e:
            raise self._lost or e from e

    def _protocol(self) -> Any:
        if self._keeper.done() and not self._keeper.cancelled():
            self._keeper.result()  # a bug in there is a bug of everyone's
        protocol = self._client.uaclient.protocol
        if protocol is None:
            raise self._lost or Unavailable(f"{self.peer}: the connection is closed")
        return protocol

    @staticmethod
    def _checked(raw: bytes, kind: type[T]) -> T:
        answer: Any = response(kind, Buffer(raw))
        answer.ResponseHeader.ServiceResult.check()
        return answer  # type: ignore[no-any-return]

    # ---------------------------------------------------------------------------------------------- lifetime

    async def learn(self) -> None:
        """Read what this server is like: its namespaces and its limits."""
        told = await self.read(ReadRequest((NAMESPACES, SERVICE_LEVEL, *LIMITS)))
        namespaces, level, *limits = told.values
        if not isinstance(namespaces, list):
            raise ProtocolError(f"{self.peer}: the server does not tell its namespaces")
        self.namespaces = tuple(map(str, namespaces))
        if isinstance(level, int):
            self.service_level = level
        self.nodes_per_read, self.items_per_call, self.nodes_per_translate = (
            limit if isinstance(limit, int) else None for limit in limits
        )

    def _judge(self, level: object) -> None:
        """Give a server up that was healthy and no longer is, where there is another one."""
        before = self.service_level
        if isinstance(level, int):
            self.service_level = level
        if self._replaceable and self.service_level < HEALTHY <= before:
            raise Unavailable(f"{self.peer} is no longer healthy (service level {level}): looking for another server")

    async def _keep(self) -> None:
        """Renew the security token, keep the session from timing out, and notice a peer that is silent."""
        client = self._client
        loop = asyncio.get_running_loop()
        channel_s = client.secure_channel_timeout / 1000
        renew_s = channel_s * RENEW_AFTER
        pause_s = min(self.timeout_s, client.session_timeout / 1000 / 3, renew_s / 6)
        renewed_s = loop.time()
        probe = ReadRequest((SERVER_STATE, SERVICE_LEVEL))
        try:
            while True:
                await asyncio.sleep(pause_s)
                if loop.time() - renewed_s >= renew_s:
                    with translated(self.peer):
                        async with deadline(self.timeout_s):
                            await client.open_secure_channel(renew=True)
                        client.uaclient.revolve_security_token()
                    renewed_s = loop.time()
                self._judge((await self.read(probe)).values[1])
        except DriverError as e:
            self._lost = e
            abort(client)  # fails everyone who waits for an answer

    async def close(self) -> None:
        """Say goodbye if somebody listens, and let go. Never raises; at most ``CLOSE_S``."""
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        with suppress(DriverError), translated(self.peer):
            async with deadline(CLOSE_S):
                await self._client.close_session()
                await self._client.close_secure_channel()
        abort(self._client)


async def open_session(link: str, options: OpcUa) -> Session:
    """Connect, authenticate both sides and activate a session. Raises DriverError; leaves nothing when it does."""
    peer = Peer(link, options.endpoint)
    with translated(peer):
        async with deadline(CONNECT_TIMEOUTS * options.timeout_s):
            client = _client(options)
            endpoint = await _choose(peer, options)
            if options.security.policy != "None":
                await _protect(client, endpoint, peer, options)
            user = await asyncio.to_thread(user_of, peer, options)
            try:
                await client.connect_socket()
                await client.send_hello()
                await client.open_secure_channel()
                await client.create_session()
                _guard_password(client, peer, options)
                _guard_certificate(client, peer, user)
                client.user_private_key = user.key
                await client.activate_session(
                    username=user.name or None, password=user.password, certificate=user.certificate
                )
            except BaseException:
                abort(client)
                raise
    session = Session(peer, options, client)
    try:
        await session.learn()
    except BaseException:
        await session.close()
        raise
    return session


@asynccontextmanager
async def deadline(seconds: float | None) -> AsyncIterator[None]:
    """asyncio.timeout for calls into asyncua: raises TimeoutError after ``seconds`` (None: never), whatever happens.

    asyncua waits through wait_for2, which answers a cancellation in the very moment of a result with a subclass of
    CancelledError. asyncio.timeout takes that for somebody else's cancellation, and the link task would end in silence.
    """
    async with asyncio.timeout(seconds):
        try:
            yield
        except asyncio.CancelledError as cancelled:
            if type(cancelled) is asyncio.CancelledError:
                raise
            raise asyncio.CancelledError from cancelled


def abort(client: Any) -> None:
    """Drop the connection now, without waiting for anyone."""
    protocol = client.uaclient.protocol
    if protocol is not None and protocol.transport is not None:
        protocol.transport.abort()
    client.uaclient.disconnect_socket()


# ------------------------------------------------------------------------------------------------------ security


def _client(options: OpcUa) -> Any:
    parts = urlsplit(options.endpoint)
    url = options.endpoint if parts.port else parts._replace(netloc=f"{parts.netloc}:{DEFAULT_PORT}").geturl()
    client = Client(url, timeout=options.timeout_s)
    client.name = client.description = "pilot-gateway"
    client.product_uri = "urn:pilot-gateway"
    client.application_uri = "urn:pilot-gateway"
    client.session_timeout = int(options.session_timeout_s * 1000)
    client.secure_channel_timeout = int(CHANNEL_S * 1000)
    return client


async def _choose(peer: Peer, options: OpcUa) -> Any:
    """The endpoint of the server that is protected as the technician wants it."""
    offered = {_protection(endpoint): endpoint for endpoint in await _endpoints(options)}
    policy = options.security.policy
    wanted = policy if policy == "None" else f"{policy} {options.security.mode}"
    if wanted not in offered:
        raise Refused(f"{peer} does not offer security {wanted}, but {', '.join(sorted(offered)) or 'nothing'}")
    return offered[wanted]


async def _protect(client: Any, endpoint: Any, peer: Peer, options: OpcUa) -> None:
    """Judge the server's certificate, then let the client use nothing but it."""
    folder = Path(options.pki)
    own = await asyncio.to_thread(pki.own, folder)
    mode = ua.MessageSecurityMode[options.security.mode]
    chain = endpoint.ServerCertificate or b""
    host = options.security.server_name or urlsplit(options.endpoint).hostname or ""
    try:
        await asyncio.to_thread(
            pki.check_server, folder, chain, host=host, application_uri=str(endpoint.Server.ApplicationUri)
        )
    except Refused as e:
        raise Refused(f"{peer}: {e}", slow=e.slow) from e
    client.application_uri = own.uri
    await client.set_security(
        SECURITY_POLICIES[options.security.policy],
        own.certificate,
        own.key,
        server_certificate=trust.split(chain)[0],
        mode=mode,
    )


async def _endpoints(options: OpcUa) -> list[Any]:
    """What the server offers. Asked without protection, so believed only as far as the certificate proves it."""
    client = _client(options)
    try:
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        endpoints: list[Any] = await client.get_endpoints()
        await client.close_secure_channel()
        return endpoints
    finally:
        abort(client)


def _protection(endpoint: Any) -> str:
    policy = str(endpoint.SecurityPolicyUri).rpartition("#")[2]
    return policy if policy == "None" else f"{policy} {endpoint.SecurityMode.name}"


def _guard_password(client: Any, peer: Peer, options: OpcUa) -> None:
    """A password never travels in the clear, unless the technician switched all protection off."""
    if not options.username or (options.security.mode == "SignAndEncrypt" and options.security.policy != "None"):
        return
    token = client.server_policy(ua.UserTokenType.UserName)
    if not token.SecurityPolicyUri.endswith("#None"):
        return
    if options.security.policy != "None":
        raise Refused(f"{peer} wants the password in plain text: use security.mode SignAndEncrypt")
    log.warning("%s: the password of %s travels in plain text, because security.policy is None", peer, options.username)


def _guard_certificate(client: Any, peer: Peer, user: User) -> None:
    """Whether the server knows users with certificates at all."""
    if user.certificate is not None and not client.server_policy(ua.UserTokenType.Certificate).PolicyId:
        raise Refused(f"{peer} takes no users with certificates: leave out user_certificate_file")
