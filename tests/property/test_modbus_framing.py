"""Whatever a stream brings, only the answer to the outstanding request is taken, and only whole."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.frames import ExchangeError, Heard, Nonsense, Refusal, RtuFraming, TcpFraming, checksum

TRANSACTION, UNIT, FUNCTION, COUNT = 1, 7, 3, 5
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


def fed(stream: bytes, cuts: list[int]) -> tuple[Heard, TcpFraming]:
    """What a framing makes of the stream when it comes in pieces."""
    framing = TcpFraming()
    assert framing.ask(UNIT, FUNCTION, 0, COUNT, SIZE)[:2] == TRANSACTION.to_bytes(2, "big")
    found: list[Heard] = []
    for piece in pieces(stream, cuts):
        found.append(framing.hear(piece))
        assert len(framing._buffer) < 6 + 254  # half a frame at most is ever kept
    said = [heard for heard in found if heard is not None]
    assert len(said) <= 1
    return (said[0] if said else None), framing


def fed_rtu(stream: bytes, cuts: list[int]) -> tuple[Heard, RtuFraming]:
    """The same for RTU."""
    framing = RtuFraming()
    framing.ask(UNIT, FUNCTION, 0, COUNT, SIZE)
    found = []
    for piece in pieces(stream, cuts):
        found.append(framing.hear(piece))
        assert len(framing._buffer) < 260
    said = [heard for heard in found if heard is not None]
    assert len(said) <= 1
    return (said[0] if said else None), framing


def pieces(stream: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    for begin, end in pairwise(places):
        yield stream[begin:end]


cuts = st.lists(st.integers(0, 10_000), max_size=12)


@given(strays, data, strays, cuts)
def test_the_answer_is_found_among_strays(before: list[bytes], right: bytes, after: list[bytes], at: list[int]) -> None:
    answer, framing = fed(b"".join([*before, frame(right), *after]), at)
    assert answer == right
    assert framing.strays == len(before) + len(after)


@given(strays, st.binary(max_size=600), cuts)
def test_noise_is_never_an_answer(before: list[bytes], noise: bytes, at: list[int]) -> None:
    answer, _ = fed(b"".join(before) + noise, at)
    assert answer is None or isinstance(answer, ExchangeError)


@given(data, st.integers(0, 8), st.integers(1, 255), cuts)
def test_no_byte_of_the_head_may_differ(right: bytes, place: int, flip: int, at: list[int]) -> None:
    wrong = bytearray(frame(right))
    wrong[place] ^= flip
    answer, _ = fed(bytes(wrong), at)
    assert answer is None or isinstance(answer, Nonsense | Refusal)


@given(st.binary(max_size=250).filter(lambda body: len(body) != SIZE), cuts)
def test_no_other_length_is_taken(body: bytes, at: list[int]) -> None:
    answer, _ = fed(frame(body), at)
    assert isinstance(answer, Nonsense)


@given(st.integers(0, 255), cuts)
def test_an_exception_is_a_refusal_with_its_code(code: int, at: list[int]) -> None:
    answer, _ = fed(struct.pack(">HHHBBB", TRANSACTION, 0, 3, UNIT, FUNCTION | 0x80, code), at)
    assert isinstance(answer, Refusal)
    assert answer.code == code


# ------------------------------------------------------------------------------------------------------------- RTU


def rtu(data: bytes, unit: int = UNIT, function: int = FUNCTION) -> bytes:
    body = bytes((unit, function, len(data))) + data
    return body + checksum(body)


rtu_strays = st.lists(
    st.builds(rtu, data, unit=st.integers(0, 255).filter(lambda number: number != UNIT))
    | st.builds(rtu, data, function=st.sampled_from([1, 2, 4]))
    | st.builds(rtu, st.binary(min_size=2, max_size=250).filter(lambda body: len(body) != SIZE)),
    max_size=4,
)


@given(rtu_strays, data, st.binary(max_size=20), cuts)
def test_rtu_the_answer_is_found_behind_other_frames(
    before: list[bytes], right: bytes, after: bytes, at: list[int]
) -> None:
    answer, framing = fed_rtu(b"".join([*before, rtu(right), after]), at)
    assert answer == right
    assert framing.strays == len(before)


@given(data, st.integers(0, 8 * (SIZE + 5) - 1), cuts)
def test_rtu_a_flipped_bit_is_never_a_value(right: bytes, bit: int, at: list[int]) -> None:
    wrong = bytearray(rtu(right))
    wrong[bit // 8] ^= 1 << bit % 8
    answer, _ = fed_rtu(bytes(wrong), at)
    assert answer is None or isinstance(answer, Nonsense)


@given(rtu_strays, st.binary(max_size=600), cuts)
def test_rtu_noise_is_never_an_answer(before: list[bytes], noise: bytes, at: list[int]) -> None:
    answer, _ = fed_rtu(b"".join(before) + noise, at)
    assert answer is None or isinstance(answer, ExchangeError)


@given(st.integers(0, 255), cuts)
def test_rtu_an_exception_is_a_refusal_with_its_code(code: int, at: list[int]) -> None:
    body = bytes((UNIT, FUNCTION | 0x80, code))
    answer, _ = fed_rtu(body + checksum(body), at)
    assert isinstance(answer, Refusal)
    assert answer.code == code
