"""Whatever a stream brings, only the answer to the outstanding request is taken, and only whole."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu import DecodePDU

from drivers.modbus.exchange import ExchangeError, Nonsense, Refusal, StrictFramer

TRANSACTION, UNIT, FUNCTION, COUNT = 0x1234, 7, 3, 5
SIZE = 2 * COUNT


def frame(data: bytes, transaction: int = TRANSACTION, unit: int = UNIT) -> bytes:
    return struct.pack(">HHHBBB", transaction, 0, 3 + len(data), unit, FUNCTION, len(data)) + data


data = st.binary(min_size=SIZE, max_size=SIZE)
strays = st.lists(
    st.builds(
        frame,
        data,
        transaction=st.integers(0, 0xFFFF).filter(lambda number: number != TRANSACTION),
    )
    | st.builds(frame, data, unit=st.integers(0, 255).filter(lambda number: number != UNIT)),
    max_size=4,
)


def fed(stream: bytes, cuts: list[int]) -> tuple[asyncio.Future[bytes], StrictFramer]:
    """What a framer makes of the stream when it comes in pieces, fed to it as pymodbus does."""
    loop = asyncio.new_event_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    framer = StrictFramer(DecodePDU(False))
    framer.expect(answer, TRANSACTION, UNIT, FUNCTION, SIZE)
    buffer = b""
    for piece in pieces(stream, cuts):
        buffer += piece
        used, pdu = framer.handleFrame(buffer, UNIT, TRANSACTION)
        assert pdu is None  # nothing is left for pymodbus to interpret
        assert 0 <= used <= len(buffer)
        buffer = buffer[used:]
        assert len(buffer) < 6 + 254  # half a frame at most is ever kept
    loop.close()
    return answer, framer


def pieces(stream: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    for begin, end in pairwise(places):
        yield stream[begin:end]


cuts = st.lists(st.integers(0, 10_000), max_size=12)


@given(strays, data, strays, cuts)
def test_the_answer_is_found_among_strays(before: list[bytes], right: bytes, after: list[bytes], at: list[int]) -> None:
    answer, framer = fed(b"".join([*before, frame(right), *after]), at)
    assert answer.result() == right
    assert framer.strays == len(before) + len(after)


@given(strays, st.binary(max_size=600), cuts)
def test_noise_is_never_an_answer(before: list[bytes], noise: bytes, at: list[int]) -> None:
    answer, _ = fed(b"".join(before) + noise, at)
    assert not answer.done() or isinstance(answer.exception(), ExchangeError)


@given(data, st.integers(0, 8), st.integers(1, 255), cuts)
def test_no_byte_of_the_head_may_differ(right: bytes, place: int, flip: int, at: list[int]) -> None:
    wrong = bytearray(frame(right))
    wrong[place] ^= flip
    answer, _ = fed(bytes(wrong), at)
    assert not answer.done() or isinstance(answer.exception(), Nonsense | Refusal)


@given(st.binary(max_size=250).filter(lambda body: len(body) != SIZE), cuts)
def test_no_other_length_is_taken(body: bytes, at: list[int]) -> None:
    answer, _ = fed(frame(body), at)
    assert isinstance(answer.exception(), Nonsense)


@given(st.integers(0, 255), cuts)
def test_an_exception_is_a_refusal_with_its_code(code: int, at: list[int]) -> None:
    answer, _ = fed(struct.pack(">HHHBBB", TRANSACTION, 0, 3, UNIT, FUNCTION | 0x80, code), at)
    refusal = answer.exception()
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
