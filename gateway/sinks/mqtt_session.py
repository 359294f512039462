"""One MQTT connection, from CONNECT to its end, over paho driven by the event loop.

In: messages. Out: what the broker acknowledged or refused. Nothing of a session survives into the next: paho keeps a
queue of its own and would re-send it after reconnecting, so every connection gets a new client object.

Paho's documented hooks for an outside event loop are used (socket callbacks, loop_read, loop_write, loop_misc); no
thread of its own runs after the connection stands.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.core.errors import SinkUnavailable
from gateway.sinks.mqtt_socket import BufferedSocket
from gateway.sinks.security import certificate_error
from gateway.sinks.worker import Worker

TICK_S = 0.5
"""How often a session looks at its clock: keep-alive and the age of what is not acknowledged."""

REFUSED_FOR_GOOD = {0x90: "topic name invalid", 0x99: "payload format invalid"}
"""PUBACK reason codes (MQTT 5, 3.4.2.1) that are about the message: sending it again would not help."""

REFUSED_FOR_NOW = {0x80: "unspecified error", 0x83: "implementation specific error", 0x97: "quota exceeded"}
"""PUBACK reason codes that pass."""

NOT_AUTHORIZED = 0x87
TAKEN_OVER = 0x8E
TOO_LARGE = 0x95
"""A broker that did not announce its limit ends the connection with this; which message it was it does not say."""

PACKET_OVERHEAD = 300
"""More than what a PUBLISH adds to topic and payload."""

ONLY_A_PERSON = {
    0x01: "the broker does not speak this MQTT version: set version to 3.1.1",
    0x84: "the broker does not speak this MQTT version: set version to 3.1.1",
    0x85: "the broker does not accept this client id: set client_id",
    0x86: "the broker refuses username or password: mend username, password or password_file",
    0x87: "the broker says this client is not authorised: mend username, password or the broker's access list",
    0x8A: "the broker has banned this client",
    0x8C: "the broker asks for another way of authentication",
    0x9C: "the broker sends us to another server",
    0x9D: "the broker has moved",
}
"""CONNACK reason codes that no retry mends, and what to do."""


@dataclass(slots=True)
class Message:
    """What is published."""

    topic: str
    payload: bytes
    retain: bool = False
    properties: Properties | None = None


@dataclass(slots=True, eq=False)
class Delivery:
    """Messages on their way, in order, with quality of service 1."""

    messages: Iterator[Message]
    done: asyncio.Future[None]
    sent: int = 0
    acknowledged: int = 0
    all_sent: bool = False
    refused: dict[int, str] = field(default_factory=dict)  # index of a message → why, for good
    trouble: SinkUnavailable | None = None  # why the rest has to wait

    def finish_if_complete(self) -> None:
        if self.all_sent and self.acknowledged == self.sent and not self.done.done():
            self.done.set_result(None)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that was sent and is not acknowledged."""

    delivery: Delivery
    index: int
    sent_at: float  # loop time
    bytes: int


class Session:
    """One connection. All methods are called in the event loop."""

    def __init__(self, client: Client, where: str, window: int, timeout_s: float, most_bytes: int = 0) -> None:
        self._client = client
        self._where = where  # host:port, for people
        self._window = window
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._queue: deque[Delivery] = deque()  # those with messages that are not sent
        self._waiting: dict[int, Waiting] = {}  # by mid, oldest first
        self._fd = -1
        self._socket: BufferedSocket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.most_bytes = most_bytes  # largest packet the broker takes, as far as known; 0: no limit
        self._shown = 0  # what the socket had taken after the last best-effort messages
        self.retain_available = True
        self.opened_at = self._loop.time()
        self.ended_at = 0.0
        self.error: SinkUnavailable | None = None  # why it ended
        self._ended = asyncio.Event()
        self.lost = False  # it was the other side that ended it, after it had accepted us

    # ------------------------------------------------------------------------------------------ begin and end

    async def open(self, host: str, port: int, keepalive_s: int) -> None:
        """Connect and wait until the broker accepts; raises SinkUnavailable within twice the time limit."""
        worker = Worker(f"mqtt-connect-{self._where}")
        self._client.connect_timeout = self._timeout_s
        try:
            async with asyncio.timeout(self._timeout_s):
                await worker.call(lambda: self._connect(host, port, keepalive_s))
            self._attach()
            async with asyncio.timeout(self._timeout_s):
                await self._connected
        except TimeoutError as error:
            raise SinkUnavailable(f"the broker {self._where} does not answer within {self._timeout_s:g} s") from error
        except ssl.SSLError as error:
            raise certificate_error(error, self._where) from error
        except (OSError, UnicodeError) as error:
            raise SinkUnavailable(f"the broker {self._where} cannot be reached: {error}") from error
        finally:
            worker.stop()
            if self._fd < 0 or not self._connected.done() or self._connected.cancelled():
                self.end(SinkUnavailable(f"the broker {self._where} was not reached"))
        if self.error:
            raise self.error

    def _connect(self, host: str, port: int, keepalive_s: int) -> None:
        """Blocking, in a thread: look-up, TCP, TLS and CONNECT."""
        # paho needs up to twice its keep-alive and two ticks to give up a silent broker; we promise twice ours
        self._client.connect(host, port, keepalive=max(1, int(keepalive_s * 0.8)))
        if self.error:  # nobody waits any more
            self._close_socket()

    def _attach(self) -> None:
        """From here on the event loop drives the client."""
        client, sock = self._client, self._client.socket()
        if not isinstance(sock, BufferedSocket):
            raise ConnectionError("connection lost while connecting")
        self._socket = sock
        self._fd = sock.fileno()
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_socket_close = lambda *_: self._detach()
        client.on_socket_register_write = self._wants_to_write
        self._loop.add_reader(self._fd, self._readable)
        self._timer = self._loop.call_later(TICK_S, self._tick)
        self._flush()  # CONNECT

    def _detach(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._fd = -1

    def end(self, error: SinkUnavailable) -> None:
        """Drop the connection; whoever waits gets the error. The second call does nothing."""
        if self.error:
            return
        self.error = error
        self._ended.set()
        self.ended_at = self._loop.time()
        self._detach()
        self._close_socket()
        if self._timer:
            self._timer.cancel()
        if not self._connected.done():
            self._connected.set_result(None)
        for delivery in (*self._queue, *(waiting.delivery for waiting in self._waiting.values())):
            if not delivery.done.done():
                delivery.done.set_result(None)
        self._queue.clear()
        self._waiting.clear()

    async def end_of_it(self) -> SinkUnavailable:
        """Wait for the end of the connection: why it ended."""
        await self._ended.wait()
        assert self.error  # noqa: S101 - set together
        return self.error

    def leave(self) -> None:
        """Say goodbye, so that the broker does not publish the last will, and end."""
        if not self.error:
            self._client.on_disconnect = None  # that one drops what is gathered
            self._client.disconnect()
            self._client.loop_write()  # closes the socket, which sends what is gathered
            self.end(SinkUnavailable("closed"))

    def _close_socket(self) -> None:
        client = self._client
        client.on_socket_close = client.on_socket_register_write = None
        client.on_connect = client.on_disconnect = client.on_publish = None
        sock = client.socket()
        if isinstance(sock, BufferedSocket):
            sock.sock.close()

    # ----------------------------------------------------------------------------------------------- delivery

    async def deliver(self, messages: Iterable[Message]) -> dict[int, str]:
        """Publish with quality of service 1, in order, and wait for every acknowledgement.

        Returns what was refused for good: index → why. Raises SinkUnavailable.
        """
        delivery = self.post(messages)
        try:
            await delivery.done
        finally:
            delivery.messages = iter(())  # when cancelled: no more of it
        if delivery.trouble:
            raise delivery.trouble
        if not delivery.all_sent or delivery.acknowledged < delivery.sent:
            raise self.error or SinkUnavailable("the connection ended")
        return delivery.refused

    def post(self, messages: Iterable[Message]) -> Delivery:
        """As ``deliver`` without waiting."""
        delivery = Delivery(iter(messages), self._loop.create_future())
        if self.error:
            delivery.done.set_result(None)
        else:
            self._queue.append(delivery)
            self._fill()
        return delivery

    def show(self, messages: Iterable[Message]) -> bool:
        """Publish with quality of service 0, unless the last ones have not left yet: whether it did."""
        sock = self._socket
        if self.error or sock is None or sock.sent < self._shown:
            return False
        for message in messages:
            self._client.publish(message.topic, message.payload, 0, message.retain, message.properties)
        self._write()
        self._shown = sock.queued
        return True

    def _fill(self) -> None:
        """Send what the window has room for."""
        while self._queue and len(self._waiting) < self._window and not self.error:
            delivery = self._queue[0]
            message = None if delivery.trouble else next(delivery.messages, None)
            if message is None:
                self._queue.popleft()
                delivery.all_sent = True
                delivery.finish_if_complete()
                continue
            index = delivery.sent
            delivery.sent += 1
            size = len(message.payload) + len(message.topic) + PACKET_OVERHEAD
            if self.most_bytes and size > self.most_bytes:
                delivery.acknowledged += 1
                delivery.refused[index] = (
                    f"{len(message.payload)} bytes, but the broker takes packets of {self.most_bytes} bytes at most"
                )
                continue
            info = self._client.publish(message.topic, message.payload, 1, message.retain, message.properties)
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.end(SinkUnavailable(f"paho did not take a message: {info.rc!r}"))
                return
            self._waiting[info.mid] = Waiting(delivery, index, self._loop.time(), size)

    # ---------------------------------------------------------------------------------- called by paho and loop

    def _readable(self) -> None:
        self._client.loop_read()
        while not self.error and self._socket and self._socket.unread:
            self._client.loop_read()
        self._fill()

    def _wants_to_write(self, client: Client, userdata: Any, sock: Any) -> None:
        self._loop.call_soon(self._write)  # after the whole burst

    def _write(self) -> None:
        if not self.error:
            self._client.loop_write()
            self._flush()

    def _flush(self) -> None:
        """Hand the gathered bytes to the system; what it does not take goes when the socket is writable again."""
        if self.error or self._socket is None:
            return
        try:
            if self._socket.flush():
                self._loop.remove_writer(self._fd)
            else:
                self._loop.add_writer(self._fd, self._flush)
        except OSError as error:
            self.lost = True
            self.end(SinkUnavailable(f"the connection to the broker {self._where} was lost: {error}"))

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)
        self._client.loop_misc()
        oldest = next(iter(self._waiting.values()), None)
        if oldest and self._loop.time() - oldest.sent_at > self._timeout_s:
            self.end(
                SinkUnavailable(f"the broker {self._where} has not acknowledged a message for {self._timeout_s:g} s")
            )

    def _on_connect(
        self, client: Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            text = ONLY_A_PERSON.get(reason.value)
            self.end(
                SinkUnavailable(f"{self._where}: {text}", slow=True)
                if text
                else SinkUnavailable(f"the broker {self._where} refuses the connection: {reason}")
            )
            return
        if getattr(properties, "MaximumQoS", 2) < 1:
            self.end(SinkUnavailable(f"the broker {self._where} acknowledges nothing (maximum QoS 0)", slow=True))
            return
        self._window = min(self._window, getattr(properties, "ReceiveMaximum", 65_535))
        self.most_bytes = getattr(properties, "MaximumPacketSize", self.most_bytes)
        self.retain_available = bool(getattr(properties, "RetainAvailable", 1))
        if not self._connected.done():
            self._connected.set_result(None)

    def _on_disconnect(self, client: Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if reason.value == TAKEN_OVER:
            error = SinkUnavailable(
                f"another client connected to {self._where} with our client id: give every gateway its own client_id",
                slow=True,
            )
        elif reason.value == TOO_LARGE and self._waiting:
            self.most_bytes = max(waiting.bytes for waiting in self._waiting.values()) - 1
            error = SinkUnavailable(f"the broker {self._where} found a message too large and ended the connection")
        elif not self._connected.done():
            error = SinkUnavailable(f"{self._where} closed the connection before answering: {reason}; is it TLS?")
        else:
            self.lost = True
            error = SinkUnavailable(f"the connection to the broker {self._where} was lost: {reason}")
        self.end(error)

    def _on_publish(self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        waiting = self._waiting.pop(mid, None)
        if waiting is None:
            return  # quality of service 0
        delivery = waiting.delivery
        delivery.acknowledged += 1
        if reason.is_failure:
            self._refused(delivery, waiting.index, reason)
        delivery.finish_if_complete()

    def _refused(self, delivery: Delivery, index: int, reason: ReasonCode) -> None:
        if reason.value in REFUSED_FOR_GOOD:
            delivery.refused[index] = f"refused by the broker: {REFUSED_FOR_GOOD[reason.value]} (0x{reason.value:02X})"
        elif reason.value == NOT_AUTHORIZED:
            delivery.trouble = SinkUnavailable(
                f"the broker {self._where} does not let us publish this topic: mend its access list", slow=True
            )
        else:
            name = REFUSED_FOR_NOW.get(reason.value, str(reason))
            delivery.trouble = SinkUnavailable(f"the broker {self._where} says {name} (0x{reason.value:02X})")
