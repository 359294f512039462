"""A Modbus server that misbehaves in every way: never a wrong value, and the next poll after it is right.

The rows of the table of faults are named in each test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from drivers.modbus.driver import PATIENCE, REFUSALS, ModbusDriver
from gateway.core.clock import SystemClock
from gateway.core.errors import DriverError, NoAnswer, ProtocolError, Unavailable
from gateway.core.model import Scan
from gateway.core.quality import Status
from tests.support.hurried import hurried
from tests.support.modbus_links import make_link
from tests.support.modbus_scripted import Behaviour, Close, Question, ScriptedServer, Step, rightly, scripted, silently

pytestmark = pytest.mark.system

REGISTERS = (10, 11, 12, 13)
DEVICE = {"id": "meter", "address": 5, "tags": [{"name": f"r{r}", "register": r} for r in REGISTERS]}
TIMEOUT_S = 1.0


@asynccontextmanager
async def meter(*script: Behaviour) -> AsyncIterator[tuple[ModbusDriver, ScriptedServer]]:
    async with scripted(*script) as server:
        driver = ModbusDriver(make_link([DEVICE], server.port, TIMEOUT_S), SystemClock())
        await driver.connect()
        yield driver, server
        await driver.close()


class Hurrying(SystemClock):
    """A clock that is ahead of the time."""

    ahead_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ns


def said(scan: Scan, question: Question) -> bool:
    """Whether the scan is what the server holds right for this question."""
    return scan.status is None and scan.values == tuple(map(question.register, REGISTERS))


async def assert_right(driver: ModbusDriver, server: ScriptedServer) -> None:
    scan = await driver.read(driver.polled[0])
    assert said(scan, server.questions[-1])


def pdu(question: Question) -> bytes:
    return bytes((question.function, 2 * question.count)) + question.data


# each: what the server does once, and what the driver makes of it
REJECTED: dict[str, tuple[Behaviour, type[DriverError]]] = {
    # F8
    "short": (lambda q: (q.frame(bytes((q.function, 6)) + q.data[:6]),), ProtocolError),
    "long": (lambda q: (q.frame(bytes((q.function, 10)) + q.data + b"\0\1"),), ProtocolError),
    "one byte too many": (lambda q: (q.frame(pdu(q) + b"\0"),), ProtocolError),
    "one byte too few": (lambda q: (q.frame(pdu(q)[:-1]),), ProtocolError),
    "byte count too large": (lambda q: (q.frame(bytes((q.function, 250)) + q.data),), ProtocolError),
    "byte count zero": (lambda q: (q.frame(bytes((q.function, 0)) + q.data),), ProtocolError),
    "no data": (lambda q: (q.frame(bytes((q.function, 0))),), ProtocolError),
    "function alone": (lambda q: (q.frame(bytes((q.function,))),), ProtocolError),
    "wrong function": (lambda q: (q.frame(bytes((4, 8)) + q.data),), ProtocolError),
    "unknown function": (lambda q: (q.frame(bytes((0x63, 8)) + q.data),), ProtocolError),
    "exception of another function": (lambda q: (q.frame(bytes((0x84, 2))),), ProtocolError),
    "exception without a code": (lambda q: (q.frame(bytes((0x83,))),), ProtocolError),
    "exception with more behind it": (lambda q: (q.frame(bytes((0x83, 2, 2))),), ProtocolError),
    # F6
    "wrong unit": (lambda q: (q.frame(pdu(q), unit=9),), NoAnswer),
    "wrong transaction": (lambda q: (q.frame(pdu(q), transaction=q.transaction ^ 1),), NoAnswer),
    "transaction zero": (lambda q: (q.frame(pdu(q), transaction=0),), NoAnswer),
    # F9
    "other protocol": (lambda q: (q.frame(pdu(q), protocol=1),), ProtocolError),
    "garbage": (lambda q: (b"HTTP/1.1 400 Bad Request\r\n\r\n",), ProtocolError),
    "a little garbage": (lambda q: (b"\xff\xff",), ProtocolError),
    "a lot of garbage": (lambda q: (b"\xa5" * 300_000,), ProtocolError),
    "zeros": (lambda q: (bytes(64),), ProtocolError),
    "length too large": (lambda q: (q.frame(pdu(q), length=200),), ProtocolError),
    "length impossible": (lambda q: (q.frame(pdu(q), length=60_000),), ProtocolError),
    "stops in the middle": (lambda q: (q.right[:11],), ProtocolError),
    "closes in the middle": (lambda q: (q.right[:11], Close()), Unavailable),
    "closes": (lambda q: (Close(),), Unavailable),
    # F2, F3
    "silence": (silently, NoAnswer),
}


@pytest.mark.parametrize("name", REJECTED)
@hurried
async def test_f6_f8_f9_is_rejected_and_the_next_poll_is_right(name: str) -> None:
    behaviour, error = REJECTED[name]
    async with meter(rightly, behaviour) as (driver, server):
        await assert_right(driver, server)
        with pytest.raises(error) as caught:
            await driver.read(driver.polled[0])
        assert "meter" in str(caught.value) or error is Unavailable
        if error is not NoAnswer:
            await driver.connect()
        for _ in range(3):
            await assert_right(driver, server)
        assert server.connections == (1 if error is NoAnswer else 2)


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("split", [0, 1, 6, 7, 9, 16])
@hurried
async def test_f5_a_late_answer_is_never_taken_for_the_current_one(where: str, split: int) -> None:
    """It comes whole or in two pieces, before or behind the right one."""
    late: list[bytes] = []

    def keep(question: Question) -> Sequence[Step]:
        late.append(question.right)
        return ()

    def give(question: Question) -> Sequence[Step]:
        pieces = [late[0][:split], late[0][split:]] if split else [late[0]]
        return [*pieces, question.right] if where == "before" else [question.right, *pieces]

    async with meter(rightly, keep, give) as (driver, server):
        await assert_right(driver, server)
        with pytest.raises(NoAnswer):
            await driver.read(driver.polled[0])
        await assert_right(driver, server)
        for _ in range(3):
            with suppress(ProtocolError):  # half of the late one had come when the next question was due
                await assert_right(driver, server)
                continue
            await driver.connect()
        await assert_right(driver, server)


@hurried
async def test_f5_answers_that_are_always_one_late_bring_no_value_at_all() -> None:
    late: list[bytes] = [b""]

    def one_late(question: Question) -> Sequence[Step]:
        late.append(question.right)
        return (late.pop(0),)

    async with meter(*[one_late] * 4) as (driver, server):
        for _ in range(2):
            with pytest.raises(NoAnswer):
                await driver.read(driver.polled[0])
        with pytest.raises(NoAnswer, match="an answer to an earlier request"):
            await driver.read(driver.polled[0])
        server.script.clear()
        await assert_right(driver, server)


@hurried
async def test_f6_a_wrong_unit_is_named() -> None:
    async with meter(REJECTED["wrong unit"][0]) as (driver, _):
        with pytest.raises(NoAnswer, match=r"meter \(unit 5 at .*what came instead was an answer of unit 9"):
            await driver.read(driver.polled[0])


@pytest.mark.parametrize("code", [4, 7, 8, 9, 12])
@hurried
async def test_f7_an_exception_is_a_status_and_no_reason_to_reconnect(code: int) -> None:
    async with meter(lambda q: (q.frame(bytes((0x83, code))),)) as (driver, server):
        scan = await driver.read(driver.polled[0])
        assert scan.values == (None,) * 4
        assert scan.status == (REFUSALS.get(code, Status.BAD_DEVICE_FAILURE),) * 4
        await assert_right(driver, server)
        assert server.connections == 1


@pytest.mark.parametrize("code", [5, 6])
@hurried
async def test_f7_a_busy_device_is_asked_once_more_a_moment_later(code: int) -> None:
    """Within the poll; one that stays busy is not waited for again until it has answered."""

    def busy(question: Question) -> Sequence[Step]:
        return (question.frame(bytes((0x83, code))),)

    loop = asyncio.get_running_loop()
    async with meter(busy, rightly, busy, busy, busy) as (driver, server):
        begin = loop.time()
        await assert_right(driver, server)
        assert 0.05 < loop.time() - begin < 0.5
        scan = await driver.read(driver.polled[0])
        assert scan.values == (None,) * 4
        assert scan.status == (Status.BAD_RESOURCE_UNAVAILABLE,) * 4
        begin = loop.time()
        assert (await driver.read(driver.polled[0])).values == (None,) * 4
        assert loop.time() == begin
        assert len(server.questions) == 5
        await assert_right(driver, server)
        server.script.append(busy)
        await assert_right(driver, server)
        assert len(server.questions) == 8
        assert server.connections == 1


@pytest.mark.parametrize("code", [10, 11])
@hurried
async def test_f7_a_converter_without_a_way_to_the_device(code: int) -> None:
    """That device backs off as if it were silent, the link goes on."""
    async with meter(lambda q: (q.frame(bytes((0x83, code))),)) as (driver, server):
        with pytest.raises(NoAnswer, match=rf"meter .*the converter says .*exception {code}") as caught:
            await driver.read(driver.polled[0])
        assert caught.value.status == Status.BAD_NO_COMMUNICATION
        await assert_right(driver, server)
        assert server.connections == 1


def refusing(code: int, *registers: int) -> Behaviour:
    """Every request that touches one of the registers is refused."""

    def answer(question: Question) -> Sequence[Step]:
        touched = range(question.start, question.start + question.count)
        bad = any(register in touched for register in registers)
        return (question.frame(bytes((0x80 | question.function, code))),) if bad else (question.right,)

    return answer


@pytest.mark.parametrize("code", [1, 2, 3])
@hurried
async def test_f7_a_bad_register_costs_its_own_tag_alone(code: int, caplog: pytest.LogCaptureFixture) -> None:
    """Found within one poll, remembered by the following ones and by the next connection, told once."""
    async with meter(*[refusing(code, 12)] * 100) as (driver, server):
        for poll in range(4):
            if poll == 2:
                await driver.connect()
            before = len(server.questions)
            scan = await driver.read(driver.polled[0])
            assert scan.status == (0, 0, Status.BAD_CONFIGURATION_ERROR, 0)
            assert [value is None for value in scan.values] == [False, False, True, False]
            assert len(server.questions) - before <= (7 if poll == 0 else 2)
        (record,) = caplog.records
        said = f"meter does not give r12 (FC3 0x000C-0x000C, 1 register): exception {code}"
        assert said in record.getMessage()


@hurried
async def test_f7_a_register_that_comes_back_is_told_and_read_along_again(caplog: pytest.LogCaptureFixture) -> None:
    clock = Hurrying()
    async with scripted(*[refusing(2, 12)] * 6) as server:
        driver = ModbusDriver(make_link([DEVICE], server.port, TIMEOUT_S), clock)
        await driver.connect()
        await driver.read(driver.polled[0])
        server.script.clear()
        assert (await driver.read(driver.polled[0])).values[2] is None, "it is left in peace"
        clock.ahead_ns = 301_000_000_000
        assert (await driver.read(driver.polled[0])).status is None
        await assert_right(driver, server)
        assert (server.questions[-1].start, server.questions[-1].count) == (10, 4)
        assert "meter gives r12 again" in caplog.records[-1].getMessage()
        await driver.close()


@hurried
async def test_f7_silence_instead_of_an_exception_costs_one_timeout_a_poll_and_then_nothing() -> None:
    """Some devices do not answer at all where a register is illegal: two blocks, one of them with such a register."""
    far = {"name": "far", "register": 900}

    def mute(question: Question) -> Sequence[Step]:
        return () if question.start <= 12 < question.start + question.count else (question.right,)

    device = DEVICE | {"tags": [far, *({"name": f"r{r}", "register": r} for r in REGISTERS)]}
    async with scripted(*[mute] * 100) as server:
        driver = ModbusDriver(make_link([device], server.port, TIMEOUT_S), SystemClock())
        await driver.connect()
        with suppress(NoAnswer):  # it may be the whole device: nothing was heard yet
            await driver.read(driver.polled[0])
        for _ in range(8):
            scan = await driver.read(driver.polled[0])
            assert scan.values[0] == server.questions[-1].register(900) or scan.values[0] is not None
        assert scan.status == (0, 0, 0, Status.BAD_CONFIGURATION_ERROR, 0)
        before = len(server.questions)
        await driver.read(driver.polled[0])
        assert len(server.questions) - before == 3
        assert server.connections == 1
        await driver.close()


@hurried
async def test_f9_byte_by_byte() -> None:
    async with meter(lambda q: [bytes((byte,)) for byte in q.right]) as (driver, server):
        await assert_right(driver, server)
        await assert_right(driver, server)
        assert server.connections == 1


@hurried
async def test_f9_garbage_behind_the_right_answer() -> None:
    async with meter(lambda q: (q.right + b"\xff" * 40,)) as (driver, server):
        await assert_right(driver, server)
        with pytest.raises(ProtocolError):
            await driver.read(driver.polled[0])
        await driver.connect()
        await assert_right(driver, server)


@hurried
async def test_f3_a_frozen_peer_gets_a_new_connection() -> None:
    """A converter whose session hangs recovers without anybody's help, and without an error of the link."""
    async with meter(*[silently] * PATIENCE) as (driver, server):
        for _ in range(PATIENCE):
            with pytest.raises(NoAnswer):
                await driver.read(driver.polled[0])
        await assert_right(driver, server)
        assert server.connections == 2


@hurried
async def test_f3_a_silent_device_leaves_its_neighbours_alone() -> None:
    """The others answer, so the connection is kept however long one is silent."""
    other = DEVICE | {"id": "other", "address": 6}

    def only_other(question: Question) -> Sequence[Step]:
        return (question.right,) if question.unit == 6 else ()

    async with scripted(*[only_other] * 10) as server:
        driver = ModbusDriver(make_link([DEVICE, other], server.port, TIMEOUT_S), SystemClock())
        await driver.connect()
        silent, living = driver.polled
        for _ in range(5):
            with pytest.raises(NoAnswer, match="meter"):
                await driver.read(silent)
            assert said(await driver.read(living), server.questions[-1])
        assert server.connections == 1
        await driver.close()


@hurried
async def test_f2_unplugged_while_a_request_is_on_its_way() -> None:
    """The loss is told at once, not after the timeout."""
    async with scripted(lambda q: (Close(),)) as server:
        driver = ModbusDriver(make_link([DEVICE], server.port, timeout_s=50), SystemClock())
        await driver.connect()
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match="closed by the other side"):
                await driver.read(driver.polled[0])
        with pytest.raises(Unavailable):
            await driver.read(driver.polled[0])
        await driver.connect()
        await assert_right(driver, server)
        await driver.close()


@hurried
async def test_f1_absent_at_start_in_words_of_a_technician() -> None:
    async with scripted() as server:
        port = server.port
    driver = ModbusDriver(make_link([DEVICE], port), SystemClock())
    with pytest.raises(Unavailable, match=rf"nothing listens at 127\.0\.0\.1:{port}: is the device or converter"):
        await driver.connect()
    await driver.close()
