"""The discipline of an RTU bus, on a serial port or behind a transparent converter.

RTU frames carry no number, so an answer that comes after its timeout looks exactly like the answer to the next request
of the same length, and from then on every value is the one before it (measured with a stock library: asked for 3, 4, 2
registers, it gave 2, 3, 4). A unit that owes an answer therefore has to prove itself before it is believed again:

1. it is asked for *another count*; an answer of that length cannot be the late one, and since a unit answers one after
   the other, the late one is over;
2. where that brings nothing clear, for the same address with *another function code*; even a refusal is proof;
3. where that brings nothing either, it is left alone until whatever it may still say is over.

Until then nothing that it says is a value. Noise costs one more try, not the link.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from drivers.modbus.exchange import Exchange, Pauses
from drivers.modbus.frames import (
    Doubtful,
    ExchangeError,
    Lost,
    Nonsense,
    Refusal,
    RtuFraming,
    Silent,
    TcpFraming,
    UdpFraming,
)
from drivers.modbus.options import ModbusLink, ModbusRtu, ModbusRtuOverTcp, ModbusUdp
from drivers.modbus.plan import gap_s
from drivers.modbus.wires import Wire, wire_of

OTHER = {1: 2, 2: 1, 3: 4, 4: 3}  # the function code that reads the same addresses elsewhere
PROOFS = 2  # questions without a clear answer before a unit is left alone
LEAST_REST_S = 3.0  # to leave it alone, and no shorter than REST timeouts
REST = 5
WARY_S = 0.02  # quiet time before the next request after something went wrong: converters deliver in pieces


@dataclass(slots=True)
class _Debt:
    """What a unit may still answer."""

    asked: set[tuple[int, int]] = field(default_factory=set)  # (function, bytes of data)
    proofs: int = 0  # asked in vain
    rests_until: float = 0.0  # loop time


class BusExchange(Exchange):
    """An exchange of RTU frames."""

    def __init__(self, wire: Wire, timeout_s: float, pauses: Pauses) -> None:
        self._rtu = RtuFraming()
        super().__init__(wire, self._rtu, timeout_s, pauses)
        self._calm = False  # it always wants to know when the bus was last heard
        self._debts: dict[int, _Debt] = {}

    async def ask(self, unit: int, function: int, start: int, count: int, size: int) -> bytes:
        """The data of the answer; raises Lost, Refusal or Silent."""
        await self._settle(unit, function, start, count)
        try:
            return await self._ask(unit, function, start, count, size)
        except Nonsense:
            await self._settle(unit, function, start, count)
        try:
            return await self._ask(unit, function, start, count, size)
        except Nonsense as error:
            raise Silent(str(error)) from error

    async def _ask(self, unit: int, function: int, start: int, count: int, size: int) -> bytes:
        """One question; whatever ends it without an answer leaves a debt."""
        owes = True
        try:
            data = await super().ask(unit, function, start, count, size)
            owes = False
            return data
        except Refusal:
            owes = False
            raise
        finally:
            if owes:
                self._debts.setdefault(unit, _Debt()).asked.add((function, size))

    async def _settle(self, unit: int, function: int, start: int, count: int) -> None:
        """Let a unit that owes an answer prove itself; raises Silent while it does not."""
        debt = self._debts.get(unit)
        if debt is None:
            return
        if debt.rests_until and asyncio.get_running_loop().time() >= debt.rests_until:
            del self._debts[unit]
        while unit in self._debts:
            question = None if debt.rests_until else _proof(debt, function, count)
            if question is None:
                self._leave_alone(debt)
                raise Silent("answers that come late or not at all: it is left alone for a moment")
            await self._pause(unit, WARY_S)
            await self._prove(unit, debt, start, *question)

    async def _prove(self, unit: int, debt: _Debt, start: int, function: int, count: int) -> None:
        """One question whose answer, if it is clear, settles the debt; raises Silent where nothing comes."""
        self._rtu.exceptions = all(function != asked for asked, _ in debt.asked)
        try:
            await self._ask(unit, function, start, count, _size(function, count))
        except Refusal:
            del self._debts[unit]
        except ExchangeError as error:
            debt.proofs += 1
            if debt.proofs >= PROOFS:
                self._leave_alone(debt)
            if not isinstance(error, Doubtful):
                raise error if isinstance(error, Lost) else Silent(str(error)) from error
        else:
            del self._debts[unit]
        finally:
            self._rtu.exceptions = True

    def _leave_alone(self, debt: _Debt) -> None:
        if not debt.rests_until:
            rest_s = max(LEAST_REST_S, REST * self._timeout_s)
            debt.rests_until = asyncio.get_running_loop().time() + rest_s


def _proof(debt: _Debt, function: int, count: int) -> tuple[int, int] | None:
    """(function, count) of a question whose answer cannot be one of those that are owed; None: there is none left."""
    if debt.proofs == 0:
        step = 2 if count % 2 == 0 else 1  # an instrument may want even counts
        for other in (*range(count - step, 0, -step), *range(count - 1, 0, -1)):
            if (function, _size(function, other)) not in debt.asked:
                return function, other
    for candidate in (OTHER[function], function):
        for other in (2, 1, 4, 3):
            if (candidate, _size(candidate, other)) not in debt.asked:
                return candidate, other
    return None


def exchange_of(options: ModbusLink) -> Exchange:
    """The exchange for a link, as its line file describes it; not open yet."""
    gap = gap_s(options) if isinstance(options, ModbusRtu) else 0.0
    pauses = Pauses(options.connect_pause_ms / 1e3, max(options.pause_ms / 1e3, gap), options.turnaround_ms / 1e3)
    wire = wire_of(options)
    if isinstance(options, ModbusRtu | ModbusRtuOverTcp):
        return BusExchange(wire, options.timeout_s, pauses)
    framing = UdpFraming() if isinstance(options, ModbusUdp) else TcpFraming()
    return Exchange(wire, framing, options.timeout_s, pauses)


def _size(function: int, count: int) -> int:
    return (count + 7) // 8 if function in (1, 2) else 2 * count
