"""Which requests bring the tags of a group: the first decision on the way of a value. Pure.

In: the tags of a group and what the instrument accepts. Out: the fewest blocks that cover every tag exactly once.

Why a greedy walk is enough: tags that lie at most ``max_gap`` apart form a cluster, and inside a cluster a block may
reach as far as the instrument allows. The block that holds the first tag does best to start there and to take along
whatever fits; any other block with that tag in it holds no more. So no plan has fewer blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drivers.modbus.options import Address, Limits, ModbusDevice
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


def plan(addresses: Sequence[Address], limits: Limits) -> tuple[Block, ...]:
    """The fewest blocks for ``addresses`` (n,), by function code and address. No value is split.

    Raises ValueError for a value that the limits do not let through in one piece; the settings refuse it before.

    >>> from drivers.modbus.options import Order, Type
    >>> def at(register): return Address(4, register, 2, Type.FLOAT32, Order.BIG, Order.BIG, 0, ())
    >>> [str(block) for block in plan([at(0), at(2), at(0x46)], Limits())]
    ['FC4 0x0000-0x0003, 4 registers', 'FC4 0x0046-0x0047, 2 registers']
    """
    blocks: list[Block] = []
    for function in sorted({address.function for address in addresses}):
        rules = _Rules.of(function, limits)
        wanted = [i for i, address in enumerate(addresses) if address.function == function]
        wanted.sort(key=lambda i: (addresses[i].register, addresses[i].words))
        for cluster in _clusters(wanted, addresses, rules.gap):
            blocks += _blocks(cluster, addresses, function, rules)
    return tuple(blocks)


def plan_group(group: Group) -> tuple[Block, ...]:
    """The blocks of one poll of a group."""
    return plan(addresses_of(group), limits_of(group.device))


def describe(link: Link) -> tuple[PlanRow, ...]:
    """The requests that a link makes again and again, for ``pilot-gateway check``."""
    return tuple(
        PlanRow(device.id, group.period_ns / 1e9, str(block), len(block.tags))
        for device in link.devices
        if device.enabled
        for group in groups(device)
        for block in plan_group(group)
    )


def addresses_of(group: Group) -> tuple[Address, ...]:
    """Where the tags of a group are, (n,)."""
    found = []
    for tag in group.tags:
        if not isinstance(tag.address, Address):
            raise TypeError(f"{group.device.path}/{tag.name} has no Modbus address")
        found.append(tag.address)
    return tuple(found)


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


def _clusters(wanted: Sequence[int], addresses: Sequence[Address], gap: int) -> Iterator[list[int]]:
    """``wanted``, in the order of addresses, cut where more than ``gap`` registers in a row belong to no tag."""
    cluster: list[int] = []
    end = 0
    for i in wanted:
        if cluster and addresses[i].register - end > gap:
            yield cluster
            cluster = []
        cluster.append(i)
        end = max(end, addresses[i].register + addresses[i].words)
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
