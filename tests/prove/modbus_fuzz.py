"""A million answers that are wrong in every way: no wrong value, no exception, no memory.

``python -m tests.prove.modbus_fuzz [ANSWERS] [SEED]``. Each answer is one of: random bytes, a right answer with bytes
changed, cut short, with a lying length, of another unit, function or transaction, several of these in a row, in pieces
of any size. The oracle is plain: the data that was asked for is known, and nothing else may come out.

Two things no receiver can know, since Modbus TCP has no checksum: that the data behind a right head was changed, and
that a stream went on with something else in the middle of a frame. So there the generator changes heads only, and lets
nothing follow what is cut short. In RTU and in datagrams it may do all of it.
"""

from __future__ import annotations

import random
import resource
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from drivers.modbus.frames import ExchangeError, Framing, RtuFraming, TcpFraming, UdpFraming, checksum

UNIT, FUNCTION = 7, 3
LARGEST_BUFFER = 300


@dataclass
class Result:
    """What came of it."""

    answers: int = 0
    right: int = 0
    refused: int = 0
    nothing: int = 0
    collided: int = 0  # RTU: changed, and the checksum is right by chance, once in 65,536
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    grown_kb: int = 0


class Generator:
    """Answers to one question."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._cut = False  # the newest part stops in the middle of a frame

    def stream(self, framing: Framing, question: bytes, right: bytes, count: int) -> list[bytes]:
        """What comes instead of the answer, or along with it."""
        parts: list[bytes] = []
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            parts.append(self._part(framing, question, right, count))
            if type(framing) is TcpFraming and self._cut:
                break
        return parts

    def _part(self, framing: Framing, question: bytes, right: bytes, count: int) -> bytes:
        roll = self.random.random
        kind = self.random.randrange(7)
        whole = self._frame(framing, question, right)
        self._cut = kind == 2
        match kind:
            case 0:
                return self.random.randbytes(self.random.randrange(40))
            case 1:  # bytes of the head, or of anything in RTU
                changed = bytearray(whole)
                end = len(changed) if isinstance(framing, RtuFraming) else 9
                for _ in range(self.random.randint(1, 3)):
                    changed[self.random.randrange(min(end, len(changed)))] ^= self.random.randint(1, 255)
                return bytes(changed)
            case 2:
                return whole[: self.random.randrange(len(whole))]
            case 3:  # another length than was asked for
                other = self.random.choice([n for n in (0, 1, 2, 5, 60, 125) if n != count])
                return self._frame(framing, question, self.random.randbytes(2 * other))
            case 4:
                return self._stray(framing, question, self.random.randbytes(len(right)))
            case 5:
                return whole + self.random.randbytes(self.random.randrange(20)) if roll() < 0.5 else whole
            case _:
                return self._refusal(framing, question)

    def _frame(self, framing: Framing, question: bytes, data: bytes) -> bytes:
        body = bytes((UNIT, FUNCTION, len(data) & 0xFF)) + data
        return body + checksum(body) if isinstance(framing, RtuFraming) else self._head(question, body)

    def _stray(self, framing: Framing, question: bytes, data: bytes) -> bytes:
        unit, function = self.random.choice(((UNIT + 1, FUNCTION), (UNIT, 4), (0, FUNCTION)))
        body = bytes((unit, function, len(data))) + data
        return body + checksum(body) if isinstance(framing, RtuFraming) else self._head(question, body)

    def _refusal(self, framing: Framing, question: bytes) -> bytes:
        body = bytes((UNIT, FUNCTION | 0x80, self.random.randint(1, 11)))
        return body + checksum(body) if isinstance(framing, RtuFraming) else self._head(question, body)

    def _head(self, question: bytes, body: bytes) -> bytes:
        return question[:2] + struct.pack(">HH", 0, len(body)) + body

    def pieces(self, framing: Framing, parts: list[bytes]) -> Iterator[bytes]:
        """The parts as a network may bring them: datagrams whole, a stream in any pieces."""
        if isinstance(framing, UdpFraming):
            yield from parts
            return
        stream, at = b"".join(parts), 0
        while at < len(stream):
            size = self.random.choice((1, 2, 7, 50, 400))
            yield stream[at : at + size]
            at += size


def run(answers: int, seed: int = 1) -> Result:
    """Feed that many answers to each kind of framing in turn."""
    generator, result = Generator(seed), Result(answers)
    framings: list[Framing] = [TcpFraming(), UdpFraming(), RtuFraming()]
    begin, memory = time.monotonic(), 0
    for number in range(answers):
        if number == answers // 10:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        framing = framings[number % 3]
        count = generator.random.choice((1, 2, 5, 62, 125))
        right = generator.random.randbytes(2 * count)
        framing.reset()
        question = framing.ask(UNIT, FUNCTION, 0, count, 2 * count)
        parts = generator.stream(framing, question, right, count)
        _judge(framing, generator.pieces(framing, parts), right, b"".join(parts), result)
    result.seconds = time.monotonic() - begin
    result.grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory if memory else 0
    return result


def _judge(framing: Framing, pieces: Iterator[bytes], right: bytes, stream: bytes, result: Result) -> None:
    heard = [each for piece in pieces if (each := framing.hear(piece)) is not None]
    if len(heard) > 1 or len(getattr(framing, "_buffer", b"")) > LARGEST_BUFFER:
        result.wrong.append(f"{type(framing).__name__} heard {len(heard)} answers: {stream.hex()}")
    elif not heard:
        result.nothing += 1
    elif isinstance(heard[0], ExchangeError):
        result.refused += 1
    elif heard[0] == right:
        result.right += 1
    elif isinstance(framing, RtuFraming) and _whole(heard[0]) in stream:
        result.collided += 1
    else:
        result.wrong.append(f"{type(framing).__name__}: {stream.hex()}")


def _whole(data: bytes) -> bytes:
    body = bytes((UNIT, FUNCTION, len(data))) + data
    return body + checksum(body)


def main(arguments: list[str]) -> int:
    """The exit code."""
    answers = int(arguments[0]) if arguments else 1_000_000
    result = run(answers, int(arguments[1]) if len(arguments) > 1 else 1)
    print(  # noqa: T201
        f"{result.answers} answers in {result.seconds:.0f} s: {result.right} right, {result.refused} refused, "
        f"{result.nothing} nothing, {result.collided} checksums right by chance, {len(result.wrong)} wrong; "
        f"memory grew by {result.grown_kb} kB"
    )
    for line in result.wrong[:10]:
        print(line)  # noqa: T201
    by_chance = result.collided <= 3 + answers // 65_536
    return 0 if not result.wrong and by_chance and result.grown_kb <= 2048 and result.right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
