"""Whatever a device refuses, exactly that is left out, soon, and what it gives comes in a plan that it accepts."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.modbus.isolate import SPARE, STRIKES, Isolation, Memory, Outcome, Refused, Silence
from drivers.modbus.options import Address, Limits, Order, Type
from drivers.modbus.plan import Block
from gateway.core.quality import Status

RETRY_NS = 300
END = 120
SIZES = {1: Type.UINT16, 2: Type.FLOAT32, 4: Type.INT64}
Device = Callable[[Block], Outcome]


def at(register: int, words: int) -> Address:
    return Address(3, register, words, SIZES[words], Order.BIG, Order.BIG, 0, ())


addresses = st.lists(st.builds(at, st.integers(0, END - 4), st.sampled_from([1, 1, 2, 4])), min_size=1, max_size=40)
registers = st.sets(st.integers(0, END - 1), max_size=6)
limits = st.builds(Limits, max_registers=st.integers(4, 125), max_gap=st.integers(0, 20))


def device(bad: set[int], longest: int = 125, silent: bool = False) -> Device:
    """Gives every request that touches no bad register and is not too long."""

    def answer(block: Block) -> Outcome:
        if block.count > longest or any(block.start <= register < block.start + block.count for register in bad):
            return Silence("") if silent else Refused(2)
        return bytes(block.size)

    return answer


def poll(isolation: Isolation, answer: Device, now_ns: int) -> tuple[dict[int, bytes | Status], int, bool]:
    """(tag → what it got, requests, alive)."""
    isolation.begin(now_ns)
    requests = 0
    while (block := isolation.next()) is not None:
        requests += 1
        if not isolation.take(answer(block)):
            return {}, requests, False
    answers = isolation.end()
    assert len(answers) == len(isolation.blocks)
    got = {tag: answers[i] for i, block in enumerate(isolation.blocks) for tag in block.tags}
    return got, requests, True


def touches(address: Address, bad: set[int]) -> bool:
    return any(register in bad for register in range(address.register, address.register + address.words))


@settings(max_examples=60)
@given(addresses, registers, limits, st.integers(4, 125))
def test_exactly_what_is_refused_is_left_out(wanted: list[Address], bad: set[int], rules: Limits, longest: int) -> None:
    isolation = Isolation(wanted, rules, Memory(), RETRY_NS)
    plain = len(isolation.blocks)
    answer = device(bad, longest)
    for _ in range(40):
        got, requests, alive = poll(isolation, answer, 0)
        assert alive
        assert set(got) == set(range(len(wanted)))
        assert requests <= len(isolation.blocks) + SPARE + plain
    for tag, address in enumerate(wanted):
        refused = touches(address, bad)
        assert got[tag] == Status.BAD_CONFIGURATION_ERROR if refused else type(got[tag]) is bytes
    asked = [
        block for block, answered in zip(isolation.blocks, isolation.end(), strict=True) if type(answered) is bytes
    ]
    assert all(type(answer(block)) is bytes for block in asked), "no request of the plan is refused any more"


@given(addresses, registers, limits)
def test_everything_is_given_again_when_the_device_gives_it(
    wanted: list[Address], bad: set[int], rules: Limits
) -> None:
    isolation = Isolation(wanted, rules, Memory(), RETRY_NS)
    for _ in range(30):
        poll(isolation, device(bad), 0)
    away = {tag for news in isolation.news if news.reason for tag in news.block.tags}
    isolation.news.clear()
    for _ in range(20):
        got, _, _ = poll(isolation, device(set()), RETRY_NS + 1)
    assert {tag for news in isolation.news if not news.reason for tag in news.block.tags} == away
    assert all(type(answered) is bytes for answered in got.values())


@settings(max_examples=40)
@given(addresses, st.integers(0, END - 1), limits)
def test_silence_for_a_register_is_told_from_a_silent_device(wanted: list[Address], bad: int, rules: Limits) -> None:
    """Something else answers: the device is not lost, and a poll costs one timeout at most."""
    always = at(500, 1)
    isolation = Isolation([always, *wanted], rules, Memory(), RETRY_NS)
    answer = device({bad}, silent=True)
    lost = timeouts = 0
    for _ in range(40 * STRIKES):
        silences = 0

        def counted(block: Block) -> Outcome:
            nonlocal silences
            outcome = answer(block)
            silences += isinstance(outcome, Silence)
            return outcome

        got, _, alive = poll(isolation, counted, 0)
        lost += not alive
        timeouts = silences
        assert silences <= 2
        if alive:
            assert type(got[0]) is bytes
    assert lost <= len(wanted)
    assert timeouts == 0, "what stays silent is not asked with every poll"
    for tag, address in enumerate(wanted, 1):
        refused = touches(address, {bad})
        assert got[tag] == Status.BAD_CONFIGURATION_ERROR if refused else type(got[tag]) is bytes


@given(addresses, limits, st.integers(1, 30))
def test_a_dead_device_costs_one_timeout_per_poll(wanted: list[Address], rules: Limits, polls: int) -> None:
    isolation = Isolation(wanted, rules, Memory(), RETRY_NS)
    poll(isolation, device(set()), 0)
    for _ in range(polls):
        assert poll(isolation, lambda block: Silence(""), 0) == ({}, 1, False)
    got, _, alive = poll(isolation, device(set()), 0)
    assert alive
    assert all(type(answered) is bytes for answered in got.values())
    assert not isolation.news
