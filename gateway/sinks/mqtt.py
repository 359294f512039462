"""The MQTT sink: batches to ``data`` topics, and beside them what dashboards want: live, meta, state, run.

In: batches from the journal, and the board. Out: QoS 1 messages; ``write`` returns when the broker has acknowledged
every one. What is said is decided in mqtt_payload.py, how a connection behaves in mqtt_session.py; here is what is
published when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway import __version__
from gateway.core.clock import Clock
from gateway.core.contracts import Board, DeviceState
from gateway.core.errors import Rejected, SinkUnavailable
from gateway.core.model import Batch, Device
from gateway.core.options import Options
from gateway.sinks import Identity, mqtt_payload
from gateway.sinks.mqtt_payload import DataEncoder, Topics
from gateway.sinks.mqtt_session import Delivery, Message, Session
from gateway.sinks.mqtt_shown import ShownDevices
from gateway.sinks.mqtt_socket import BufferedClient
from gateway.sinks.options import MqttOptions
from gateway.sinks.security import read_secret, tls_context

GOODBYE_S = 1.0
"""How long a clean stop waits for the broker to take the offline message."""

LIVE_EXPIRY_S = 600
"""A live message that nobody renews disappears from an MQTT 5 broker after this time; it is renewed in half of it."""

SHORT_LIFE_S = 5.0
SHORT_LIVES = 3
"""So many connections in a row that the other side ended so soon look like two clients with one id."""

TAKEOVER_WAIT_S = 8.0
"""What such a pair then waits: long enough to stop the storm, short enough for a network that merely flapped."""


class MqttSink:
    """One broker."""

    def __init__(self, name: str, options: Options, identity: Identity, board: Board, clock: Clock) -> None:
        assert isinstance(options, MqttOptions)  # noqa: S101 - the registry pairs them
        self._name = name
        self._options = options
        self._identity = identity
        self._board = board
        self._clock = clock
        self._topics = Topics(options.prefix)
        self._encoder = DataEncoder(identity.gateway)
        self._client_id = options.client_id or f"pilot-{identity.gateway}"
        self._where = f"{options.host}:{options.port}"
        self._properties = _Properties.of(options, identity)
        self._session: Session | None = None
        self._online = asyncio.Event()
        self._shown: dict[str, _Shown] = {}  # by device path, on this connection
        self._runs: dict[tuple[str, str], bytes] = {}  # run state by (site, line), on this connection
        self._gone: dict[str, Device] = {}  # taken out of the configuration; whether the broker knows is not sure
        self._file = ShownDevices(identity.directory, name, self._where, options.prefix)
        self._file_read = False
        self._post: Delivery | None = None  # states that are on their way
        self._short_lives = 0

    @property
    def window(self) -> tuple[int, int]:
        """Enough records to keep the window of messages full, few enough that a re-send is short."""
        return 5 * self._options.window, 50_000

    @property
    def linger_s(self) -> float:
        """Nothing is gained by gathering: each record is a message of its own."""
        return 0.0

    # ------------------------------------------------------------------------------------------ begin and end

    async def connect(self) -> None:
        """Connect, and tell who we are: gateway state, then meta, state and run of everything, all retained."""
        options = self._options
        self._let_go()
        most_bytes = self._session.most_bytes if self._session else 0
        self._look_for_takeover()
        session = Session(self._make_client(), self._where, options.window, options.timeout_s, most_bytes)
        self._session = session
        try:
            await self._recall()
            await session.open(options.host, options.port, options.keepalive_s)
            self._forget_shown()
            await self._remember()
            self._post = None
            refused = await session.deliver(self._birth(session))
            if refused:
                raise SinkUnavailable(f"{self._where}: meta or state {next(iter(refused.values()))}", slow=True)
            self._gone.clear()
            await self._remember()
        except BaseException:
            session.end(SinkUnavailable(f"the connection to {self._where} was given up"))
            raise
        self._online.set()

    async def lost(self) -> None:
        """See core.contracts.WatchedSink: also an idle gateway has to know, and to be known as online."""
        session = self._session
        if session is None:
            raise SinkUnavailable("not connected")
        raise await session.end_of_it()

    async def close(self) -> None:
        """Say that the gateway is offline and leave; at most 2 s."""
        session = self._session
        self._session = None
        self._online.clear()
        if session is None or session.error:
            return
        try:
            with suppress(SinkUnavailable, TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await session.deliver([self._gateway_message(session, online=False)])
        finally:
            session.leave()

    def _let_go(self) -> None:
        self._online.clear()
        if self._session:
            self._session.end(SinkUnavailable("connecting again"))

    def _look_for_takeover(self) -> None:
        """Many brokers do not say that another client took our id over; connections just keep ending.

        A network that comes and goes looks the same, so the wait is no longer than one may have to wait for that.
        """
        last, self._session = self._session, None
        if last is None or not last.lost:
            self._short_lives = 0
            return
        self._short_lives = self._short_lives + 1 if last.ended_at - last.opened_at < SHORT_LIFE_S else 0
        if self._short_lives >= SHORT_LIVES:
            self._short_lives = 0
            raise SinkUnavailable(
                f"{self._where} ended {SHORT_LIVES} connections in a row within {SHORT_LIFE_S:g} s: is another client "
                f"using the client id {self._client_id}?",
                retry_after_s=TAKEOVER_WAIT_S,
            )

    def _make_client(self) -> Client:
        """A client with nothing in its queues."""
        options = self._options
        five = options.version == "5"
        client = BufferedClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,  # also: no silent fall-back to MQTT 3.1
        )
        client.max_inflight_messages_set(0)  # the window is ours: paho's walks all messages at each acknowledgement
        if options.username:
            client.username_pw_set(
                options.username, read_secret(options.password, options.password_file, "password") or None
            )
        if options.tls:
            client.tls_set_context(tls_context(options.tls))
        topic, will = self._gateway_state(online=False, since_ns=None)
        client.will_set(topic, will, qos=1, retain=True)
        return client

    # ----------------------------------------------------------------------------------------------- data lane

    async def write(self, batches: Sequence[Batch], history: bool) -> None:
        """Publish each batch; returns when the broker has acknowledged all of them."""
        session = self._session
        if session is None:
            raise SinkUnavailable("not connected")
        if session.error:
            raise session.error
        refused = await session.deliver(self._data(batches, history))
        if refused:
            raise Rejected(tuple(refused), _reasons(refused.values()))

    def _data(self, batches: Sequence[Batch], history: bool) -> Iterator[Message]:
        """Made one by one as the window takes them, so that a slow broker costs no memory."""
        data, encode, properties = self._topics.data, self._encoder.encode, self._properties.data
        for batch in batches:
            yield Message(data(batch.shape.source), encode(batch, history), properties=properties)

    # ----------------------------------------------------------------------------------------------- live lane

    async def live(self) -> None:
        """Keep live, state and run topics true, until cancelled."""
        while True:
            await self._online.wait()
            due = 0.0
            loop = asyncio.get_running_loop()
            while (session := self._session) and not session.error and self._online.is_set():
                now = loop.time()
                regular = now >= due
                if regular:
                    due = now + self._options.live_interval_s
                self._show(session, now, regular)
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self._board.changed()
                await self._remember()
            self._online.clear()

    def _show(self, session: Session, now: float, regular: bool) -> None:
        """One look at the board: what changed urgently, and on regular looks also what is new or due for renewal."""
        messages, shown = [], []
        for entry in self._board.states():
            device = entry.device
            version, urgency = self._board.version(device), self._board.urgency(device)
            last = self._shown.setdefault(device.path, _Shown())
            new = version != last.version or now - last.at > LIVE_EXPIRY_S / 2
            if urgency != last.urgency or (regular and new):
                messages.append(self._live_message(session, device))
                shown.append((last, version, urgency))
        if messages and session.show(messages):
            for last, version, urgency in shown:
                last.version, last.urgency, last.at = version, urgency, now
        if self._post is None or self._post.done.done():  # else: they are slow, and the next look sends the newest
            states = self._changed_states(session)
            if states:
                self._post = session.post(states)

    def _changed_states(self, session: Session) -> list[Message]:
        """Meta, state and run messages that say something else than before on this connection."""
        messages = []
        runs: dict[tuple[str, str], tuple[str, str]] = {}
        entries = self._board.states()
        for entry in entries:
            device = entry.device
            last = self._shown.setdefault(device.path, _Shown())
            if last.device is not device:
                last.device = device
                messages.append(self._meta_message(session, device))
            payload = _state(entry)
            if payload != last.state:
                last.state = payload
                messages.append(self._retained(session, self._topics.state(device), payload))
            run = self._board.run(device)
            if run[0] or (device.site, device.line) not in runs:
                runs[device.site, device.line] = run
        for (site, line), (run_id, phase) in runs.items():
            payload = mqtt_payload.run_state(run_id, phase)
            if self._runs.get((site, line)) != payload:
                self._runs[site, line] = payload
                messages.append(self._retained(session, self._topics.run(site, line), payload))
        if len(self._shown) > len(entries):
            messages += self._clear(session, self._take_gone(entries), runs)
        return messages

    # ------------------------------------------------------------------- devices that are no longer configured

    async def _recall(self) -> None:
        """Once: whatever an earlier life showed is gone, unless it is on the board when a connection is made."""
        if not self._file_read:
            self._gone |= {device.path: device for device in await asyncio.to_thread(self._file.read)}
            self._file_read = True

    async def _remember(self) -> None:
        """Keep what the broker shows, or is about to."""
        shown = [*self._gone.values(), *(entry.device for entry in self._board.states())]
        if self._file.differs(shown):
            await asyncio.to_thread(self._file.write, shown)

    def _take_gone(self, entries: Sequence[DeviceState]) -> list[Device]:
        """Those that are shown and are not on the board any more; now they are not shown either."""
        there = {entry.device.path for entry in entries}
        gone = [shown.device for path, shown in self._shown.items() if path not in there and shown.device]
        self._shown = {path: shown for path, shown in self._shown.items() if path in there}
        self._gone |= {device.path: device for device in gone}
        return gone

    def _forget_shown(self) -> None:
        """A new connection: the broker may have lost everything, but may also still show what is gone meanwhile."""
        entries = self._board.states()
        self._take_gone(entries)
        for entry in entries:
            self._gone.pop(entry.device.path, None)
        self._shown.clear()
        self._runs.clear()

    def _clear(self, session: Session, gone: Iterable[Device], lines: Container[tuple[str, str]]) -> Iterator[Message]:
        """Empty retained messages: the broker forgets what it showed of a device, and of a line without devices."""
        if not session.retain_available:
            return
        for device in gone:
            for topic in (self._topics.live(device), self._topics.state(device), self._topics.meta(device)):
                yield self._retained(session, topic, b"")
            if (device.site, device.line) not in lines:
                self._runs.pop((device.site, device.line), None)
                yield self._retained(session, self._topics.run(device.site, device.line), b"")

    # ------------------------------------------------------------------------------------------------ messages

    def _birth(self, session: Session) -> Iterator[Message]:
        yield self._gateway_message(session, online=True)
        for entry in self._board.states():
            self._shown.setdefault(entry.device.path, _Shown()).device = entry.device
            yield self._meta_message(session, entry.device)
        yield from self._changed_states(session)
        lines = {(entry.device.site, entry.device.line) for entry in self._board.states()}
        yield from self._clear(session, tuple(self._gone.values()), lines)

    def _meta_message(self, session: Session, device: Device) -> Message:
        payload = mqtt_payload.meta(self._identity.gateway, device)
        return self._retained(session, self._topics.meta(device), payload)

    def _gateway_message(self, session: Session, *, online: bool) -> Message:
        topic, payload = self._gateway_state(online=online, since_ns=self._clock.time_ns())
        return self._retained(session, topic, payload)

    def _gateway_state(self, *, online: bool, since_ns: int | None) -> tuple[str, bytes]:
        gateway, boot = self._identity.gateway, self._identity.boot
        return self._topics.gateway(gateway), mqtt_payload.gateway_state(gateway, boot, online, __version__, since_ns)

    def _retained(self, session: Session, topic: str, payload: bytes) -> Message:
        return Message(topic, payload, session.retain_available, self._properties.other)

    def _live_message(self, session: Session, device: Device) -> Message:
        payload = mqtt_payload.live(device, self._board.newest(device), self._board.run(device)[0])
        return Message(self._topics.live(device), payload, session.retain_available, self._properties.live)


def _state(entry: DeviceState) -> bytes:
    return mqtt_payload.state(entry.state, entry.since_ns, entry.error)


def _reasons(refused: Iterable[str]) -> str:
    reasons = sorted(set(refused))
    return reasons[0] if len(reasons) == 1 else f"{reasons[0]} (and {len(reasons) - 1} other reasons)"


@dataclass(slots=True)
class _Shown:
    """What one device's retained topics say on this connection."""

    version: int = -1
    urgency: int = -1
    at: float = field(default=float("-inf"))  # loop time of the live message
    state: bytes = b""
    device: Device | None = None  # what the meta message says


@dataclass(frozen=True, slots=True)
class _Packed:
    """MQTT 5 properties that are packed once and not at every message, which would cost 10 µs each."""

    packed: bytes

    def pack(self) -> bytes:
        return self.packed

    @classmethod
    def of(cls, gateway: str, schema: str = "", expiry_s: int = 0) -> Properties:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = mqtt_payload.CONTENT_TYPE
        properties.UserProperty = [("schema", schema), ("gateway", gateway)] if schema else [("gateway", gateway)]
        if expiry_s:
            properties.MessageExpiryInterval = expiry_s
        packed = cls(properties.pack())  # type: ignore[no-untyped-call]
        return cast(Properties, packed)  # paho only asks for pack()


@dataclass(frozen=True, slots=True)
class _Properties:
    """What goes along with messages; nothing on MQTT 3.1.1."""

    data: Properties | None = None
    live: Properties | None = None
    other: Properties | None = None

    @classmethod
    def of(cls, options: MqttOptions, identity: Identity) -> _Properties:
        if options.version != "5":
            return cls()
        gateway = identity.gateway
        return cls(
            data=_Packed.of(gateway, mqtt_payload.DATA_SCHEMA),
            live=_Packed.of(gateway, expiry_s=LIVE_EXPIRY_S),
            other=_Packed.of(gateway),
        )
