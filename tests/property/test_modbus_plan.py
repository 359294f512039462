"""The planner against the rules it must obey, and against every other way to share out a few tags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.options import Address, Limits, Order, Type
from drivers.modbus.plan import Block, fits, plan

SIZES = {1: Type.UINT16, 2: Type.FLOAT32, 4: Type.INT64}


def at(function: int, register: int, words: int) -> Address:
    return Address(function, register, words, SIZES.get(words, Type.STRING), Order.BIG, Order.BIG, 0, ())


@st.composite
def addresses(draw: st.DrawFn, most: int, span: int, functions: Sequence[int] = (1, 2, 3, 4)) -> list[Address]:
    base = draw(st.sampled_from([0, 1, 100, 65_536 - span]))
    found = []
    for _ in range(draw(st.integers(1, most))):
        function = draw(st.sampled_from(functions))
        words = draw(st.sampled_from([1, 1, 2, 4, 7])) if function >= 3 else 1
        found.append(at(function, base + draw(st.integers(0, span - words)), words))
    return found


limits = st.builds(
    Limits,
    max_registers=st.integers(8, 125),
    max_bits=st.integers(1, 2000),
    even_start=st.booleans(),
    even_count=st.booleans(),
    max_gap=st.integers(0, 40),
)
tight = st.builds(
    Limits,
    max_registers=st.integers(8, 12),
    max_bits=st.integers(1, 12),
    even_start=st.booleans(),
    even_count=st.booleans(),
    max_gap=st.integers(0, 6),
)


@given(addresses(most=40, span=600), limits)
def test_every_tag_once_within_the_limits(wanted: list[Address], rules: Limits) -> None:
    blocks = plan(wanted, rules)
    assert sorted(tag for block in blocks for tag in block.tags) == list(range(len(wanted)))
    assert len(blocks) <= len(wanted)
    for block in blocks:
        bits = block.function in (1, 2)
        assert 1 <= block.count <= (rules.max_bits if bits else rules.max_registers)
        assert block.start >= 0
        assert block.start + block.count <= 65_536
        assert bits or not rules.even_start or block.start % 2 == 0
        assert bits or not rules.even_count or block.count % 2 == 0
        for tag in block.tags:
            assert wanted[tag].function == block.function
            assert block.start <= wanted[tag].register
            assert wanted[tag].register + wanted[tag].words <= block.start + block.count
        assert longest_gap(block.tags, wanted) <= rules.max_gap * (16 if bits else 1)


@given(addresses(most=6, span=40), tight)
def test_no_other_plan_has_fewer_requests(wanted: list[Address], rules: Limits) -> None:
    blocks = plan(wanted, rules)
    for function in {address.function for address in wanted}:
        tags = [i for i, address in enumerate(wanted) if address.function == function]
        fewest = min(
            len(parts) for parts in partitions(tags) if all(one_request(part, wanted, rules) for part in parts)
        )
        assert sum(block.function == function for block in blocks) == fewest


@given(addresses(most=12, span=100), limits, st.randoms(use_true_random=False))
def test_the_order_of_the_tags_does_not_matter(wanted: list[Address], rules: Limits, random: object) -> None:
    def shape(blocks: Sequence[Block], tags: Sequence[Address]) -> list[tuple[int, int, int, list[Address]]]:
        return [
            (b.function, b.start, b.count, sorted((tags[i] for i in b.tags), key=lambda a: (a.register, a.words)))
            for b in blocks
        ]

    shuffled = list(wanted)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert shape(plan(shuffled, rules), shuffled) == shape(plan(wanted, rules), wanted)


# ----------------------------------------------------------------------------- the rules once more, written plainly


def longest_gap(tags: Sequence[int], wanted: Sequence[Address]) -> int:
    """The longest run of addresses between the first and the last of ``tags`` that belong to no tag at all."""
    mine = [wanted[tag] for tag in tags]
    function = mine[0].function
    used = {register for a in wanted if a.function == function for register in range(a.register, a.register + a.words)}
    longest = run = 0
    for register in range(min(a.register for a in mine), max(a.register + a.words for a in mine)):
        run = 0 if register in used else run + 1
        longest = max(longest, run)
    return longest


def one_request(part: Sequence[int], wanted: Sequence[Address], rules: Limits) -> bool:
    """Whether some request that the instrument accepts brings all of ``part``."""
    bits = wanted[part[0]].function in (1, 2)
    first = min(wanted[tag].register for tag in part)
    end = max(wanted[tag].register + wanted[tag].words for tag in part)
    most = rules.max_bits if bits else rules.max_registers
    accepted = any(
        start + count >= end
        and start + count <= 65_536
        and (bits or not rules.even_start or start % 2 == 0)
        and (bits or not rules.even_count or count % 2 == 0)
        for start in range(max(0, first - 2), first + 1)
        for count in range(1, most + 1)
    )
    return accepted and longest_gap(part, wanted) <= rules.max_gap * (16 if bits else 1)


def partitions(items: Sequence[int]) -> Iterator[list[list[int]]]:
    """Every way to share ``items`` out."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for i, part in enumerate(rest):
            yield [*rest[:i], [items[0], *part], *rest[i + 1 :]]


@given(
    addresses(most=1, span=20, functions=(3, 4)),
    st.builds(Limits, max_registers=st.integers(1, 9), even_start=st.booleans(), even_count=st.booleans()),
)
def test_fits_says_whether_one_request_is_enough(wanted: list[Address], rules: Limits) -> None:
    assert fits(wanted[0], rules) == one_request([0], wanted, rules)
