"""One question, one answer: what is asked, what is waited for, what is left behind."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys

import pytest

from drivers.modbus.bus import exchange_of
from drivers.modbus.exchange import Exchange, Lost, Silent, connect_hint
from drivers.modbus.options import ModbusTcp
from drivers.modbus.wires import serial_hint
from tests.support.hurried import hurried
from tests.support.modbus_links import make_link
from tests.support.modbus_scripted import rightly, scripted, silently

WHERE = "meter.plant:502"


def exchange_to(port: int, timeout_s: float) -> Exchange:
    link = make_link([{"id": "meter"}], port, timeout_s)
    assert isinstance(link.options, ModbusTcp)
    return exchange_of(link.options)


async def test_the_answer_is_bytes_and_goes_by_our_checks() -> None:
    async with scripted(rightly) as server:
        exchange = exchange_to(server.port, timeout_s=5)
        await exchange.open()
        data = await exchange.ask(unit=3, function=4, start=100, count=2, size=4)
        (question,) = server.questions
        assert (question.unit, question.function, question.start, question.count) == (3, 4, 100, 2)
        assert data == question.data
        exchange.close()


async def test_transactions_count_up_and_around() -> None:
    async with scripted() as server:
        exchange = exchange_to(server.port, timeout_s=5)
        await exchange.open()
        exchange._framing._transaction = 0xFFFE  # type: ignore[attr-defined]
        for _ in range(3):
            await exchange.ask(1, 3, 0, 1, 2)
        assert [question.transaction for question in server.questions] == [0xFFFF, 1, 2]
        exchange.close()


async def test_a_request_that_was_cancelled_leaves_nothing_behind() -> None:
    async with scripted(silently) as server:
        exchange = exchange_to(server.port, timeout_s=50)
        await exchange.open()
        task = asyncio.create_task(exchange.ask(1, 3, 0, 1, 2), name="ask")
        async with asyncio.timeout(5):
            while not server.questions:  # noqa: ASYNC110
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        data = await exchange.ask(1, 3, 0, 1, 2)
        assert data == server.questions[-1].data
        exchange.close()


async def test_closing_ends_a_request_at_once() -> None:
    async with scripted(silently) as server:
        exchange = exchange_to(server.port, timeout_s=50)
        await exchange.open()
        task = asyncio.create_task(exchange.ask(1, 3, 0, 1, 2), name="ask")
        await asyncio.sleep(0)
        exchange.close()
        with pytest.raises(Lost):
            await task
        with pytest.raises(Lost):
            await exchange.ask(1, 3, 0, 1, 2)


@hurried
async def test_a_timeout_is_no_retry() -> None:
    """Whoever asks again may take the second answer for the first."""
    async with scripted(silently) as server:
        exchange = exchange_to(server.port, timeout_s=5)
        await exchange.open()
        with pytest.raises(Silent):
            await exchange.ask(1, 3, 0, 1, 2)
        assert len(server.questions) == 1
        exchange.close()


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT is Linux only")
async def test_a_peer_that_does_not_even_acknowledge_is_given_up() -> None:
    """F3: three timeouts, not the quarter of an hour of TCP."""
    async with scripted() as server:
        exchange = exchange_to(server.port, timeout_s=0.5)
        await exchange.open()
        assert exchange._line is not None
        wire = exchange._line.send.__self__.get_extra_info("socket")  # type: ignore[attr-defined]
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        exchange.close()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConnectionRefusedError(), "nothing listens at meter.plant:502: is the device or converter switched on"),
        (
            OSError(
                "Multiple exceptions: [Errno 111] Connect call failed ('::1', 502, 0, 0), "
                "[Errno 111] Connect call failed ('127.0.0.1', 502)"
            ),
            "nothing listens at meter.plant:502",
        ),
        (TimeoutError(), "meter.plant:502 does not answer: is it switched on"),
        (socket.gaierror(-2, "Name or service not known"), "nobody knows the name in meter.plant:502"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "there is no way to meter.plant:502"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "there is no way to meter.plant:502"),
        (OSError(errno.EMFILE, "Too many open files"), "cannot connect to meter.plant:502: Too many open files"),
    ],
)
def test_why_there_is_no_connection_in_words_of_a_technician(error: OSError, sentence: str) -> None:
    assert connect_hint(error, WHERE).startswith(sentence)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOENT, "No such file"), "there is no serial port /dev/ttyUSB0: is the adapter plugged in"),
        (OSError(errno.EACCES, "Permission denied"), "the serial port /dev/ttyUSB0 may not be used: add the gateway"),
        (OSError(errno.EAGAIN, "locked"), "the serial port /dev/ttyUSB0 is in use by another program"),
        (OSError(errno.EINVAL, "odd"), "the serial port /dev/ttyUSB0 does not take its settings"),
        (TimeoutError(), "the serial port /dev/ttyUSB0 does not open"),
        (OSError(errno.EIO, "Input/output error"), "cannot open the serial port /dev/ttyUSB0: Input/output error"),
    ],
)
def test_why_there_is_no_serial_port(error: OSError, sentence: str) -> None:
    assert serial_hint(error, "/dev/ttyUSB0").startswith(sentence)
