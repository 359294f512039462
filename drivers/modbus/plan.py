"""Which requests bring the tags of a group: the first decision on the way of a value. Pure.

In: the tags of a group and what the instrument accepts. Out: the fewest blocks that cover every tag exactly once.

Why a greedy walk is enough: tags that lie at most ``max_gap`` apart form a cluster, and inside a cluster a block may
reach as far as the instrument allows. The block that holds the first tag does best to start there and to take along
whatever fits; any other block with that tag in it holds no more. So no plan has fewer blocks. What a device was found
to refuse (``isolate.py``) makes clusters shorter, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from drivers.modbus.options import Address, Limits, ModbusDevice, ModbusLink, ModbusRtu
from gateway.core.contracts import PlanRow
from gateway.core.model import Device, Group, Link, groups

END = 65_536  # one past the last address
BITS = (1, 2)  # the function codes that read bits


@dataclass(frozen=True, slots=True)
class Block:
    """One request; ``tags`` has shape (k,): positions in the group of the tags that it brings."""

    function: int
    start: int  # first address on the wire
    count: int  # registers (functions 3, 4) or bits (1, 2)
    tags: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of data in the answer."""
        return (self.count + 7) // 8 if self.function in BITS else 2 * self.count

    def __str__(self) -> str:
        unit = "bit" if self.function in BITS else "register"
        return (
            f"FC{self.function} 0x{self.start:04X}-0x{self.start + self.count - 1:04X}, "
            f"{self.count} {unit}{'s' if self.count != 1 else ''}"
        )


@dataclass(frozen=True, slots=True)
class Barriers:
    """What no request may cross, because the device refused one that did; (function, register) each."""

    bad: frozenset[tuple[int, int]] = frozenset()  # registers that nobody may read along
    cuts: frozenset[tuple[int, int]] = frozenset()  # values that start before and from here on are asked apart


NO_BARRIERS = Barriers()


def plan(
    addresses: Sequence[Address],
    limits: Limits,
    only: Collection[int] | None = None,
    barriers: Barriers = NO_BARRIERS,
) -> tuple[Block, ...]:
    """The fewest blocks for ``addresses`` (n,), by function code and address. No value is split.

    ``only``: of these, the ones at these positions.
    Raises ValueError for a value that the limits do not let through in one piece; the settings refuse it before.

    >>> from drivers.modbus.options import Order, Type
    >>> def at(register): return Address(4, register, 2, Type.FLOAT32, Order.BIG, Order.BIG, 0, ())
    >>> [str(block) for block in plan([at(0), at(2), at(0x46)], Limits())]
    ['FC4 0x0000-0x0003, 4 registers', 'FC4 0x0046-0x0047, 2 registers']
    """
    blocks: list[Block] = []
    chosen = range(len(addresses)) if only is None else only
    barriers = _around_alone(addresses, barriers)
    for function in sorted({addresses[i].function for i in chosen}):
        rules = _Rules.of(function, limits)
        wanted = [i for i in chosen if addresses[i].function == function]
        wanted.sort(key=lambda i: (addresses[i].register, addresses[i].words))
        blocks += (block_of(tags, addresses, limits) for tags in _alone(wanted, addresses))
        together = [i for i in wanted if not addresses[i].alone]
        for cluster in _clusters(together, addresses, rules.gap, barriers):
            blocks += _blocks(cluster, addresses, function, rules)
    return tuple(blocks)


def block_of(tags: Sequence[int], addresses: Sequence[Address], limits: Limits) -> Block:
    """The one request for these tags of one function, whatever lies between them."""
    function = addresses[tags[0]].function
    begin = min(addresses[i].register for i in tags)
    end = max(addresses[i].register + addresses[i].words for i in tags)
    return Block(function, *_Rules.of(function, limits).span(begin, end), tuple(tags))


def _around_alone(addresses: Sequence[Address], barriers: Barriers) -> Barriers:
    """No request spans a value that its instrument gives only by itself."""
    alone = {
        (address.function, register)
        for address in addresses
        if address.alone
        for register in range(address.register, address.register + address.words)
    }
    return Barriers(barriers.bad | alone, barriers.cuts) if alone else barriers


def _alone(wanted: Sequence[int], addresses: Sequence[Address]) -> Iterator[list[int]]:
    """The tags of each value that its instrument gives only by itself."""
    places: dict[tuple[int, int], list[int]] = {}
    for i in wanted:
        if addresses[i].alone:
            places.setdefault((addresses[i].register, addresses[i].words), []).append(i)
    yield from places.values()


def plan_group(group: Group) -> tuple[Block, ...]:
    """The blocks of one poll of a group."""
    return plan(addresses_of(group), limits_of(group.device))


def describe(link: Link) -> tuple[PlanRow, ...]:
    """The requests that a link makes again and again, for ``pilot-gateway check``."""
    rows = []
    for device in link.devices:
        for group in groups(device) if device.enabled else ():
            for block in plan_group(group):
                tags = sum(tag < len(group.index) for tag in block.tags)
                seconds = bus_seconds(block, link.options)
                rows.append(PlanRow(device.id, group.period_ns / 1e9, str(block), tags, seconds))
    return tuple(rows)


def bus_seconds(block: Block, options: object) -> float:
    """How long the bus is taken by one request and its answer, pauses included; 0 where its speed is not known.

    Eight characters are asked, five and the data are answered, 3.5 lie between any two frames (1.75 ms above 19,200
    baud: Modbus over Serial Line V1.02, 2.5.1.1). How long the device thinks comes on top.
    """
    baud_rate = getattr(options, "baud_rate", None)
    if not isinstance(options, ModbusLink) or not baud_rate:
        return 0.0
    character_s = character_bits(options) / baud_rate
    return float((8 + 5 + block.size) * character_s + 2 * gap_s(options) + options.pause_ms / 1000)


def character_bits(options: ModbusLink) -> int:
    """Bits on the wire for one character: start, data, parity, stop."""
    if not isinstance(options, ModbusRtu):
        return 10  # behind a converter: 8N1
    return 1 + options.data_bits + (options.parity != "none") + options.stop_bits


def gap_s(options: ModbusLink) -> float:
    """The quiet time that ends an RTU frame."""
    baud_rate: int = getattr(options, "baud_rate", None) or 9600
    if baud_rate > 19_200:
        return 0.001_75
    return 3.5 * character_bits(options) / baud_rate


def addresses_of(group: Group) -> tuple[Address, ...]:
    """Where the tags of a group are (n,), and behind them the scale factors that they need (h,), each once."""
    found: list[Address] = []
    for tag in group.tags:
        if not isinstance(tag.address, Address):
            raise TypeError(f"{group.device.path}/{tag.name} has no Modbus address")
        found.append(tag.address)
    factors = dict.fromkeys(address.scale_at for address in found if address.scale_at)
    return (*found, *factors)


def limits_of(device: Device) -> Limits:
    """What the instrument accepts in one request."""
    return device.options.limits if isinstance(device.options, ModbusDevice) else Limits()


@dataclass(frozen=True, slots=True)
class _Rules:
    """The limits as they apply to one function code, in registers or in bits."""

    most: int
    even_start: bool
    even_count: bool
    gap: int

    @classmethod
    def of(cls, function: int, limits: Limits) -> _Rules:
        if function in BITS:
            return cls(limits.max_bits, even_start=False, even_count=False, gap=16 * limits.max_gap)
        most = limits.max_registers - (limits.max_registers % 2 if limits.even_count else 0)
        return cls(most, limits.even_start, limits.even_count, limits.max_gap)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """(start, count) of the request that reads from ``start`` up to, not including, ``end``."""
        if self.even_start:
            start -= start % 2
        if self.even_count and (end - start) % 2:
            if end < END:
                end += 1
            else:
                start -= 1
        return start, end - start


def fits(address: Address, limits: Limits) -> bool:
    """Whether the instrument gives the whole value in one request."""
    rules = _Rules.of(address.function, limits)
    return rules.span(address.register, address.register + address.words)[1] <= rules.most


def _clusters(wanted: Sequence[int], addresses: Sequence[Address], gap: int, barriers: Barriers) -> Iterator[list[int]]:
    """``wanted``, in the order of addresses, cut at barriers and where more than ``gap`` registers belong to no tag."""
    cluster: list[int] = []
    end = 0
    for i in wanted:
        address = addresses[i]
        begin, function = address.register, address.function
        if cluster and (
            begin - end > gap
            or ((function, begin) in barriers.cuts and addresses[cluster[-1]].register < begin)
            or (barriers.bad and any((function, register) in barriers.bad for register in range(end, begin)))
        ):
            yield cluster
            cluster = []
        cluster.append(i)
        end = max(end, begin + address.words)
    if cluster:
        yield cluster


def _blocks(cluster: list[int], addresses: Sequence[Address], function: int, rules: _Rules) -> Iterator[Block]:
    left = cluster
    while left:
        begin = addresses[left[0]].register
        end = begin
        taken, rest = [], []
        for i in left:
            stop = max(end, addresses[i].register + addresses[i].words)
            if rules.span(begin, stop)[1] <= rules.most:
                taken.append(i)
                end = stop
            else:
                rest.append(i)
        if not taken:
            raise ValueError(f"a value of {addresses[left[0]].words} registers at {begin} exceeds the limits")
        yield Block(function, *rules.span(begin, end), tuple(taken))
        left = rest
