"""What a request and its answer look like on the wire, TCP and RTU. Pure.

In: a question. Out: its bytes; and from whatever is then heard, piece by piece, the data of exactly that answer, or why
there is none. A framing waits for one answer at a time and never takes another one for it:

- in a Modbus TCP frame the transaction, the unit, the function and the length must be those of the question;
- an RTU frame has a checksum, but no transaction: unit, function and length are all there is, so an answer that comes
  late looks like the next one. ``bus.py`` deals with that.
"""

from __future__ import annotations

import struct
from typing import Protocol, TypeAlias

HEADER = struct.Struct(">HHH")  # transaction, protocol (0), length of what follows
REQUEST = struct.Struct(">HHHBBHH")
ANSWER = struct.Struct(">HHHBBB")  # header, unit, function, bytes of data: how the right answer begins
RTU_REQUEST = struct.Struct(">BBHH")
SHORTEST, LONGEST = 3, 254  # unit, function and one byte at least; 253 bytes of PDU and the unit at most
READS = (1, 2, 3, 4)


class ExchangeError(Exception):
    """No usable answer; the text says what came instead."""


class Silent(ExchangeError):
    """Nothing that belongs to this request came within the timeout; the connection is in order."""


class Lost(ExchangeError):
    """The connection is gone, or there never was one."""


class Nonsense(ExchangeError):
    """The answer contradicts the request or is no Modbus: what follows cannot be trusted."""


class Doubtful(ExchangeError):
    """A refusal that may be that of an earlier request."""


class Refusal(ExchangeError):
    """The device answered with an exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


Heard: TypeAlias = bytes | ExchangeError | None
"""The data of the answer, why there will be none, or nothing yet."""


class Framing(Protocol):
    """One kind of frame. ``strays`` counts frames that answered nothing, ``stray`` says what the newest one was."""

    strays: int
    stray: str

    def ask(self, unit: int, function: int, start: int, count: int, size: int) -> bytes:
        """The request; from now on wait for its answer, ``size`` bytes of data. Raises Nonsense."""

    def hear(self, data: bytes) -> Heard:
        """What the next piece of the stream brings; an answer at most once per question."""

    def give_up(self) -> ExchangeError:
        """The time is over: what kind of silence it was."""

    def forget(self) -> None:
        """Nothing is expected any more: what still comes is late."""

    def reset(self) -> None:
        """A new connection: nothing of the old one counts."""


class _Waiting:
    """The question that waits for its answer."""

    def __init__(self) -> None:
        self.strays = 0
        self.stray = ""
        self._waiting = False
        self._buffer = b""
        self._unit = self._function = self._size = 0

    def forget(self) -> None:
        self._waiting = False

    def reset(self) -> None:
        self._waiting, self._buffer, self.stray = False, b"", ""

    def _expect(self, unit: int, function: int, size: int) -> None:
        self._waiting, self.stray = True, ""
        self._unit, self._function, self._size = unit, function, size

    def _on_stray(self, what: str) -> None:
        self.strays += 1
        self.stray = what


class TcpFraming(_Waiting):
    """Modbus TCP over a stream: TCP and TLS."""

    def __init__(self) -> None:
        super().__init__()
        self._transaction = 0
        self._garbled = ""
        self._right = b""  # how the answer begins if nothing is odd about it

    def ask(self, unit: int, function: int, start: int, count: int, size: int) -> bytes:
        if self._garbled or self._buffer:
            raise Nonsense(self._garbled or "half an answer to an earlier request")
        self._transaction = self._transaction % 0xFFFF + 1
        self._expect(unit, function, size)
        self._right = ANSWER.pack(self._transaction, 0, 3 + size, unit, function, size)
        return REQUEST.pack(self._transaction, 0, 6, unit, function, start, count)

    def hear(self, data: bytes) -> Heard:
        whole = len(data) == ANSWER.size + self._size and not self._buffer and self._waiting
        if whole and data.startswith(self._right):  # nearly always
            self._waiting = False
            return data[ANSWER.size :]
        stream = self._buffer + data if self._buffer else data
        used = 0
        heard: Heard = None
        while len(stream) - used >= HEADER.size:
            transaction, protocol, length = HEADER.unpack_from(stream, used)
            if protocol != 0 or not SHORTEST <= length <= LONGEST:
                self._garbled = f"bytes that are no Modbus TCP ({stream[used : used + 8].hex(' ')} …)"
                self._buffer = b""
                waiting, self._waiting = self._waiting, False
                return heard or (Nonsense(self._garbled) if waiting else None)
            end = used + HEADER.size + length
            if end > len(stream):
                break
            heard = self._on_frame(transaction, stream[used + HEADER.size : end]) or heard
            used = end
        self._buffer = stream[used:] if used else stream
        return heard

    def _on_frame(self, transaction: int, frame: bytes) -> Heard:
        if not self._waiting or transaction != self._transaction:
            self._on_stray("an answer to an earlier request")
            return None
        if frame[0] != self._unit:
            self._on_stray(f"an answer of unit {frame[0]}")
            return None
        self._waiting = False
        if frame[1] == self._function and len(frame) == 3 + self._size and frame[2] == self._size:
            return frame[3:]
        if frame[1] == self._function | 0x80 and len(frame) == 3:
            return Refusal(frame[2])
        if frame[1] & 0x7F != self._function:
            return Nonsense(f"an answer to function {frame[1] & 0x7F} instead of {self._function}")
        return Nonsense(f"an answer of {len(frame) - 3} bytes of data instead of {self._size}")

    def give_up(self) -> ExchangeError:
        return Nonsense("the answer stopped in the middle") if self._buffer else Silent(self.stray)

    def reset(self) -> None:
        super().reset()
        self._garbled = ""


class UdpFraming(TcpFraming):
    """Modbus TCP's frames, one in a datagram: nothing that is wrong with one touches the next."""

    def hear(self, data: bytes) -> Heard:
        if len(data) < HEADER.size or HEADER.unpack_from(data)[1:] != (0, len(data) - HEADER.size):
            self._on_stray("a datagram that is no Modbus")
            return None
        heard = super().hear(data)
        if isinstance(heard, Nonsense) or self._garbled:
            self._garbled = ""
            self._waiting = True  # it proves nothing: anybody can send a datagram
            self._on_stray(str(heard))
            return None
        return heard


class RtuFraming(_Waiting):
    """RTU frames on a bus, or through a converter that passes bytes on.

    A frame with the right checksum that is not the answer is a stray, and the wait goes on. Anything else is Nonsense:
    noise, two who speak at once, the wrong baud rate.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exceptions = True  # False: an exception of this function could be that of an earlier request

    def ask(self, unit: int, function: int, start: int, count: int, size: int) -> bytes:
        self._buffer = b""  # whatever came after the last answer was no answer
        self._expect(unit, function, size)
        request = RTU_REQUEST.pack(unit, function, start, count)
        return request + checksum(request)

    def hear(self, data: bytes) -> Heard:
        if not self._waiting:
            return None
        self._buffer += data
        while len(self._buffer) >= 5:
            length = self._length()
            if length == 0:
                return self._garble("bytes that are no Modbus RTU")
            if len(self._buffer) < length:
                return None
            frame, self._buffer = self._buffer[:length], self._buffer[length:]
            if checksum(frame[:-2]) != frame[-2:]:
                self._buffer = frame + self._buffer
                return self._garble("an answer with a wrong checksum")
            heard = self._on_frame(frame)
            if heard is not None:
                self._waiting, self._buffer = False, b""
                return heard
        return None

    def _length(self) -> int:
        """Of the frame at the head of the buffer; 0: it can be none."""
        function = self._buffer[1]
        if function & 0x7F not in READS:
            return 0
        return 5 if function & 0x80 else 5 + self._buffer[2]

    def _garble(self, what: str) -> Nonsense:
        text = f"{what} ({self._buffer[:8].hex(' ')} …)"
        self._waiting, self._buffer = False, b""
        return Nonsense(text)

    def _on_frame(self, frame: bytes) -> Heard:
        unit, function = frame[0], frame[1]
        if unit != self._unit:
            self._on_stray(f"an answer of unit {unit}")
        elif function == self._function | 0x80:
            return Refusal(frame[2]) if self.exceptions else Doubtful(f"exception {frame[2]}")
        elif function == self._function and frame[2] == self._size:
            return frame[3:-2]
        elif function != self._function:
            self._on_stray(f"an answer to function {function & 0x7F} that was not asked for")
        else:
            self._on_stray(f"an answer of {frame[2]} bytes of data instead of {self._size}")
        return None

    def give_up(self) -> ExchangeError:
        return Silent("an answer that stopped in the middle" if self._buffer else self.stray)


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC = _crc_table()


def checksum(data: bytes) -> bytes:
    """CRC-16/MODBUS, the low byte first (Modbus over Serial Line V1.02, 6.2.2).

    >>> checksum(b"123456789").hex()
    '374b'
    """
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")
