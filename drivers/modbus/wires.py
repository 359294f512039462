"""The ways to a device: TCP, TLS, UDP, a serial port. Only this file opens anything.

In: what a line file says about a link. Out: an open line to send over, and what is wrong in words of a technician.

TCP, TLS and UDP are pymodbus's transports (:class:`_Transport`). A serial port is opened with pyserial, which
pymodbus uses too, because its transport does not take the port for itself alone.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
import termios
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import serial
from pymodbus.transport import CommParams, CommType, ModbusProtocol

from drivers.modbus.options import ModbusLink, ModbusRtu, ModbusTls, ModbusTlsFiles, ModbusUdp
from gateway.core.errors import Refused, Unavailable

CHUNK = 4096  # bytes read from a serial port at once
PARITIES = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}


@dataclass(frozen=True, slots=True)
class Line:
    """An open connection; ``close`` is at once and never raises."""

    send: Callable[[bytes], object]
    close: Callable[[], None]


class Wire(Protocol):
    """One way to a device."""

    @property
    def where(self) -> str:
        """Where it leads, for people."""

    async def open(self, session: Any) -> Line:
        """Open it; ``session`` is an asyncio protocol that hears of everything. Raises OSError."""


@dataclass(frozen=True, slots=True)
class TcpWire:
    """TCP, with TLS where there is a context for it."""

    host: str
    port: int
    timeout_s: float
    tls: ModbusTlsFiles | None = None

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"

    async def open(self, session: Any) -> Line:
        context = _tls_context(self.tls) if self.tls else None
        kind = CommType.TLS if context else CommType.TCP
        link = _Transport(CommParams(comm_type=kind, host=self.host, port=self.port, sslctx=context), session)
        # not link.connect(): it would answer False and keep the reason to itself
        create: Callable[..., Awaitable[tuple[Any, Any]]] = link.call_create
        transport, _ = await (create(server_hostname=self.tls.server_name or self.host) if self.tls else create())
        self._give_up_dead_peers(transport)
        return Line(transport.write, link.drop)

    def _give_up_dead_peers(self, transport: asyncio.Transport) -> None:
        """Let the system drop a connection whose other end does not even acknowledge.

        Without it TCP goes on for a quarter of an hour, and tries so rarely in the end that a device is back long
        before its connection.
        """
        wire: Any = transport.get_extra_info("socket")
        if wire is not None:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(3000 * self.timeout_s))


@dataclass(frozen=True, slots=True)
class UdpWire:
    """Datagrams: there is no connection, so whether anybody is there shows with the first question."""

    host: str
    port: int

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port} (UDP)"

    async def open(self, session: Any) -> Line:
        link = _Transport(CommParams(comm_type=CommType.UDP, host=self.host, port=self.port), session)
        transport, _ = await link.call_create()
        return Line(transport.sendto, link.drop)


class _Transport(ModbusProtocol):
    """A connection of pymodbus that hands every byte on as it comes.

    pymodbus's own reading of answers is left out, for two reasons that were measured: it hands out answers of a wrong
    function or length as success, and it takes 60-80 µs a request where ``frames.py`` takes about 20.
    ``tests/unit/modbus/test_wires.py`` fails if a new pymodbus no longer works this way.
    """

    def __init__(self, params: CommParams, session: Any) -> None:
        super().__init__(params, is_server=False)
        self._session = session
        self._hear = session.data_received

    def data_received(self, data: bytes) -> None:
        """What comes over TCP and TLS; the base would first render it for a log that nobody keeps."""
        self._hear(data)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...] | None) -> None:
        """What comes over UDP."""
        self._hear(data)

    def error_received(self, exc: Exception) -> None:
        """A datagram came back: nobody listens there."""
        self._session.error_received(exc)

    def callback_new_connection(self) -> ModbusProtocol:
        """Never called: this is no server."""
        return self

    def callback_connected(self) -> None:
        """Whoever awaits the connection knows."""

    def callback_data(self, data: bytes, addr: tuple[Any, ...] | None = None) -> int:
        """Never called, since ``datagram_received`` does not go through the buffer."""
        return len(data)

    def callback_disconnected(self, exc: Exception | None) -> None:
        """The other side is gone."""
        self._session.connection_lost(exc)

    def drop(self) -> None:
        """Let go at once; what was still to be sent is dropped."""
        transport: Any = self.transport
        self.close()
        if transport is not None:
            transport.abort()


@dataclass(frozen=True, slots=True)
class SerialWire:
    """A serial port, for us alone."""

    options: ModbusRtu

    @property
    def where(self) -> str:
        return self.options.port

    async def open(self, session: Any) -> Line:
        # a device that hangs can keep the system busy for a while
        port = await asyncio.to_thread(open_port, self.options)
        return serial_line(port, session)


def open_port(options: ModbusRtu) -> serial.Serial:
    """The port with the settings of the bus. Raises OSError whatever is wrong."""
    try:
        return serial.Serial(
            options.port,
            baudrate=options.baud_rate,
            bytesize=options.data_bits,
            parity=PARITIES[options.parity],
            stopbits=options.stop_bits,
            timeout=0,
            write_timeout=0,
            exclusive=True,
        )
    except termios.error as error:  # neither an OSError nor pyserial's own
        raise OSError(errno.EINVAL, f"the port does not take these settings: {error}") from error
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from error


def serial_line(port: serial.Serial, session: Any) -> Line:
    """The open port as a line; ``session`` hears what comes and when the port is gone."""
    loop = asyncio.get_running_loop()
    handle = port.fileno()

    def close() -> None:
        if port.is_open:
            loop.remove_reader(handle)
            port.close()

    def end(error: OSError | None) -> None:
        close()
        session.connection_lost(error)

    def ready() -> None:
        try:
            data = os.read(handle, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:  # unplugged
            end(error)
            return
        if data:
            session.data_received(data)
        else:
            end(None)

    def send(data: bytes) -> None:
        try:
            sent = os.write(handle, data)
        except OSError as error:  # unplugged, or it takes nothing any more
            end(error)
            return
        if sent < len(data):
            end(OSError(errno.EIO, "the port does not take more bytes"))

    loop.add_reader(handle, ready)
    return Line(send, close)


def wire_of(options: ModbusLink) -> Wire:
    """The way that a line file describes."""
    if isinstance(options, ModbusRtu):
        return SerialWire(options)
    host, port = str(getattr(options, "host", "")), int(getattr(options, "port", 0))
    if isinstance(options, ModbusUdp):
        return UdpWire(host, port)
    return TcpWire(host, port, options.timeout_s, options.tls if isinstance(options, ModbusTls) else None)


# -------------------------------------------------------------------------------------------------------- failures


def _tls_context(tls: ModbusTlsFiles) -> ssl.SSLContext:
    """The other side's certificate and name are always verified. Raises OSError."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:  # also ssl.SSLError: unreadable, not PEM, key and certificate do not match
        names = ", ".join(name for name in (tls.ca_file, tls.cert_file, tls.key_file) if name)
        raise _BadCertificate(f"certificates cannot be loaded from {names}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _BadCertificate(OSError):
    """Only a person can mend it."""


def open_error(error: OSError, wire: Wire) -> Unavailable:
    """What it means that the way could not be opened."""
    if isinstance(error, _BadCertificate):
        return Refused(str(error))
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refused(
            f"the certificate of {wire.where} is not accepted: {error.verify_message}; if it is the right device, set "
            "tls.ca_file to the authority that signed it, or tls.server_name to the name in it"
        )
    if isinstance(error, ssl.SSLError):
        return Refused(
            f"TLS with {wire.where} failed: {error.reason or error}; is it a TLS port, "
            "and does it want a certificate of ours (tls.cert_file)?"
        )
    if isinstance(wire, SerialWire):
        return Unavailable(serial_hint(error, wire.where))
    return Unavailable(connect_hint(error, wire.where))


def serial_hint(error: OSError, where: str) -> str:
    """Why a serial port could not be opened, and where to look."""
    match error.errno:
        case errno.ENOENT | errno.ENXIO | errno.ENODEV:
            return f"there is no serial port {where}: is the adapter plugged in? ls /dev/serial/by-id/ shows the names"
        case errno.EACCES | errno.EPERM:
            return f"the serial port {where} may not be used: add the gateway's user to the group dialout"
        case errno.EBUSY | errno.EAGAIN:
            return f"the serial port {where} is in use by another program"
        case errno.EINVAL:
            return f"the serial port {where} does not take its settings: baud rate, parity, data and stop bits"
    if isinstance(error, TimeoutError):
        return f"the serial port {where} does not open: is the adapter in order?"
    return f"cannot open the serial port {where}: {error.strerror or error}"


def connect_hint(error: OSError, where: str) -> str:
    """Why a connection could not be made, and where to look, in a sentence for a technician."""
    if error.errno is None and (number := re.search(r"\[Errno (\d+)\]", str(error))):
        # asyncio tried several addresses of one name and says what became of each
        error = OSError(int(number[1]), os.strerror(int(number[1])))
    match error:
        case ConnectionRefusedError():
            return f"nothing listens at {where}: is the device or converter switched on, is the port right?"
        case TimeoutError():
            return f"{where} does not answer: is it switched on and in the network, is the address right?"
        case socket.gaierror():
            return f"nobody knows the name in {where}: is it spelled right, does the name server know it?"
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return f"there is no way to {where}: are both in the same network, is the cable plugged in?"
    return f"cannot connect to {where}: {error.strerror or error}"
