"""What the wires rely on in pymodbus; a new version that works otherwise fails here."""

from __future__ import annotations

import asyncio
import inspect

from pymodbus.transport import CommParams, ModbusProtocol

from drivers.modbus.wires import TcpWire


class Session:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard = b""
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def error_received(self, exc: Exception) -> None:
        self.lost.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


def test_pymodbus_hands_over_everything_in_one_method() -> None:
    assert "self.datagram_received(data, None)" in inspect.getsource(ModbusProtocol.data_received)
    assert CommParams().reconnect_delay is None, "it does not reconnect by itself"


async def test_bytes_go_both_ways_and_the_end_is_told() -> None:
    asked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set_result(await reader.readexactly(4))
        writer.write(bytes(3000))  # more than pymodbus would keep for a frame
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        session = Session()
        line = await TcpWire("127.0.0.1", server.sockets[0].getsockname()[1], 1.0).open(session)
        line.send(b"read")
        assert await asked == b"read"
        await asyncio.wait_for(session.lost.wait(), 5)
        assert len(session.heard) == 3000
        line.close()
        line.close()


async def test_closing_says_nothing_to_the_session() -> None:
    gone = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionResetError:  # dropped, not closed
            pass
        finally:
            writer.close()
            gone.set()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        session = Session()
        line = await TcpWire("127.0.0.1", server.sockets[0].getsockname()[1], 1.0).open(session)
        line.close()
        await asyncio.wait_for(gone.wait(), 5)
        assert not session.lost.is_set()
