"""A Modbus TCP server that misbehaves as told, answer by answer.

Its registers hold other values with every request it gets, so that an answer to an earlier request can never pass for
the right one: register ``a`` in the answer to request number ``n`` holds ``Question.register(a)``.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class Question:
    """One request, as it came in."""

    number: int  # counts all requests, from 1
    transaction: int
    unit: int
    function: int
    start: int
    count: int

    def register(self, address: int) -> int:
        """What stands in a register in the answer to this request."""
        return (1000 * self.number + address) % 65_536

    @property
    def data(self) -> bytes:
        """The data of the right answer."""
        return struct.pack(f">{self.count}H", *map(self.register, range(self.start, self.start + self.count)))

    @property
    def right(self) -> bytes:
        """The right answer, whole."""
        return self.frame(bytes((self.function, 2 * self.count)) + self.data)

    def frame(
        self,
        pdu: bytes,
        *,
        transaction: int | None = None,
        protocol: int = 0,
        unit: int | None = None,
        length: int | None = None,
    ) -> bytes:
        """``pdu`` (function and what follows) in a header that is right but for what is given."""
        return (
            struct.pack(
                ">HHHB",
                self.transaction if transaction is None else transaction,
                protocol,
                len(pdu) + 1 if length is None else length,
                self.unit if unit is None else unit,
            )
            + pdu
        )


class Close:
    """Step: end the connection."""


Step: TypeAlias = bytes | Close
Behaviour: TypeAlias = Callable[[Question], Sequence[Step]]
"""What to do about a question: bytes are sent one after the other, each in a packet of its own."""


def rightly(question: Question) -> Sequence[Step]:
    """As it should be."""
    return (question.right,)


def silently(question: Question) -> Sequence[Step]:
    """Not a word."""
    return ()


@dataclass
class ScriptedServer:
    """``script`` holds what to do about the next questions; when it is used up, answers are right."""

    port: int = 0
    script: deque[Behaviour] = field(default_factory=deque)
    questions: list[Question] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answer(reader, writer):
                    pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One question; whether the connection goes on."""
        transaction, _, _, unit, function, start, count = struct.unpack(">HHHBBHH", await reader.readexactly(12))
        question = Question(len(self.questions) + 1, transaction, unit, function, start, count)
        self.questions.append(question)
        behaviour = self.script.popleft() if self.script else rightly
        for step in behaviour(question):
            if isinstance(step, Close):
                return False
            writer.write(step)
            await writer.drain()
            await asyncio.sleep(0)
        return True


@asynccontextmanager
async def scripted(*script: Behaviour) -> AsyncIterator[ScriptedServer]:
    """The server, listening on loopback."""
    state = ScriptedServer(script=deque(script))
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(state.serve(reader, writer), name="scripted connection")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports let go of their sockets
        await server.wait_closed()
