"""Fifty thousand answers of OPC UA servers that are wrong in every way: no crash, no hang, no wrong value.

Half of them come as bytes to a session, through asyncua's own protocol, and ``driver.read`` is what hears them: random
bytes, heads changed, cut short, lying lengths and counts, other services, other requests, in chunks and pieces of any
size, and values of every other type. What was asked for is known, so whatever comes out must be that.

The other half is changed anywhere in the body, where nobody can know any more what was meant: there our decoder must
come to the same end as asyncua's. An end is a value, a ProtocolError or the refusal of the server; anything else would
end the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from asyncua.client.ua_client import UASocketProtocol
from asyncua.crypto.security_policies import SecurityPolicyNone

from drivers.opcua import failures, plan, wire
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.failures import Peer
from drivers.opcua.library import struct_to_binary, ua
from drivers.opcua.options import OpcUa
from drivers.opcua.session import Session
from drivers.opcua.wire import published, read_results
from gateway.core.clock import SystemClock
from gateway.core.errors import DriverError
from gateway.core.model import Group, Value, groups
from gateway.core.quality import GOOD, Status
from tests.prove.proof import Progress, Proof, Reached
from tests.support.opcua_lines import PLANT, make_link
from tests.unit.opcua.test_wire import (
    ORDER_OF_ASYNCUA,
    data_change,
    outcome,
    publish_response,
    read_response,
    theirs_published,
    theirs_read,
)

T = ua.VariantType
ANSWERS, QUICK_ANSWERS, CONTROL_ANSWERS = 50_000, 3_000, 15_000
GROWTH_KB = 32_768  # a lying length may cost that much for a moment; a leak costs more with every answer
SLOWEST_S = 5.0  # one answer; a busy machine is slow, a hang never ends
KINDS = ("float", "int", "bool", "text")
Outcome = tuple[Value, int]


@dataclass
class Result:
    """What came of it."""

    answers: int = 0
    right: int = 0
    refused: int = 0
    same: int = 0  # of those that are held against asyncua's decoder
    wrong: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    seconds: float = 0.0
    grown_kb: int = 0


# ------------------------------------------------------------------------------------------------------- values


def right_value(dice: random.Random, kind: str) -> tuple[Any, Outcome]:
    """What a server says, and what has to come of it."""
    match kind:
        case "float":
            number = dice.uniform(-1e6, 1e6)
            return ua.Variant(number, T.Double), (number, GOOD)
        case "int":
            whole = dice.randrange(-(2**63), 2**63)
            return ua.Variant(whole, T.Int64), (whole, GOOD)
        case "bool":
            flag = dice.random() < 0.5
            return ua.Variant(flag, T.Boolean), (flag, GOOD)
        case _:
            text = "".join(dice.choices("abc 加热\n", k=dice.randrange(9)))
            return ua.Variant(text, T.String), (text, GOOD)


def odd_value(dice: random.Random, kind: str) -> tuple[Any, Outcome]:
    """As ``right_value``, for what is no value of the kind."""
    odd: list[Any] = [
        ua.Variant([1.5, 2.5], T.Double),
        ua.Variant(None, T.Null),
        ua.Variant(b"\x00\xff", T.ByteString),
        ua.Variant(ua.Argument(Name="x"), T.ExtensionObject),
        ua.Variant([[1, 2], [3, 4]], T.Int32),
    ]
    odd.append(ua.Variant("80.4", T.String) if kind != "text" else ua.Variant(80.4, T.Double))
    odd.append(ua.Variant(True, T.Boolean) if kind != "bool" else ua.Variant(1, T.Int32))
    if kind == "float" and dice.random() < 0.3:
        return ua.Variant(dice.choice((float("nan"), float("inf"))), T.Float), (None, Status.BAD_SENSOR_FAILURE)
    return dice.choice(odd), (None, Status.BAD_TYPE_MISMATCH)


def data_values(dice: random.Random, count: int) -> tuple[list[Any], list[Outcome]]:
    """``count`` DataValues for tags of the kinds in turn, and what has to come of them."""
    items, expected = [], []
    for n in range(count):
        make = odd_value if dice.random() < 0.1 else right_value
        variant, outcome_ = make(dice, KINDS[n % len(KINDS)])
        code = 0
        if dice.random() < 0.1:
            code = 0x8034_0000
            outcome_ = (None, code)
        items.append(ua.DataValue(variant, StatusCode=ua.StatusCode(code)))
        expected.append(outcome_)
    return items, expected


# ------------------------------------------------------------------------------------------------ through a session


class _Transport:
    """What a protocol writes to; tells the protocol when it is closed, as asyncio does."""

    def __init__(self, protocol: Any) -> None:
        self._protocol: Any = protocol
        self.closed = False

    def write(self, data: bytes) -> None:
        """Nobody reads it: the question is known."""

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close


class Line:
    """A driver whose session hangs on a wire that we hold."""

    COUNTS = (1, 3, 12)

    def __init__(self) -> None:
        self.groups: dict[int, Group] = {}
        devices = {
            f"d{count}": [
                {"name": f"t{n}", "node": f"nsu={PLANT};i={n + 1}", "kind": KINDS[n % len(KINDS)]} for n in range(count)
            ]
            for count in self.COUNTS
        }
        link = make_link(0, devices, modes=dict.fromkeys(devices, "poll"))
        assert isinstance(link.options, OpcUa)
        self.options = link.options.model_copy(update={"timeout_s": 3600.0, "session_timeout_s": 36_000.0})
        self.driver = OpcUaDriver(link, SystemClock())
        for device in link.devices:
            (group,) = groups(device)
            self.groups[len(group.index)] = group
            self.driver._nodes.update({(device.path, i): ua.NodeId(i + 1, 2) for i in group.index})
        self.sequence = 0
        self.open()

    def open(self) -> None:
        """A new connection."""
        policy: Any = SecurityPolicyNone
        protocol: Any = UASocketProtocol(3600, policy())
        self.protocol = protocol
        transport: Any = _Transport(self.protocol)
        self.protocol.connection_made(transport)
        self.sequence = 0
        self.driver._read_limit = plan.CALL_LIMIT  # as connect does
        self.driver._requests.clear()
        client = SimpleNamespace(
            uaclient=SimpleNamespace(protocol=self.protocol), session_timeout=1e9, secure_channel_timeout=1e9
        )
        self.session = self.driver._session = Session(Peer("plc", "opc.tcp://plc"), self.options, client)

    async def drop(self) -> None:
        """Let go of the connection."""
        self.session._keeper.cancel()
        await asyncio.wait([self.session._keeper])

    async def hear(self, count: int, make: Any) -> list[Outcome]:
        """What ``read`` gives when the bytes are those that ``make(number of the request)`` gives, then the end."""
        reading = asyncio.create_task(self.driver.read(self.groups[count]), name="read")
        await asyncio.sleep(0)
        for piece in make(self.protocol._request_id):
            if not self.protocol.transport or self.protocol.transport.closed:
                break
            self.protocol.data_received(piece)
        for _ in range(3):
            await asyncio.sleep(0)
        if not reading.done() and self.protocol.transport:
            self.protocol.connection_lost(None)
        scan = await reading
        return list(zip(scan.values, scan.status or (GOOD,) * count, strict=True))

    def frame(self, body: bytes, request: int, *, final: bytes = b"F") -> bytes:
        """One chunk of a message."""
        self.sequence += 1
        head = b"MSG" + final + (24 + len(body)).to_bytes(4, "little") + bytes(8)
        return head + self.sequence.to_bytes(4, "little") + request.to_bytes(4, "little") + body


HEADS = 24 + 4 + 16  # bytes of the chunk's head, the type and the response header up to its result: no value in them


def answers(line: Line, dice: random.Random, body: bytes, count: int, request: int) -> Iterator[bytes]:
    """What comes in place of the right answer, or as it, in pieces."""
    stream = _stream(line, dice, body, count, request)
    while stream:
        size = dice.choice((1, 7, 100, 5000, 5000))
        yield stream[:size]
        stream = stream[size:]


def _stream(line: Line, dice: random.Random, body: bytes, count: int, request: int) -> bytes:
    match dice.randrange(12):
        case 0:
            return dice.randbytes(dice.randrange(60))
        case 1:  # heads
            changed = bytearray(line.frame(body, request))
            for _ in range(dice.randint(1, 3)):
                changed[dice.randrange(HEADS)] ^= dice.randint(1, 255)
            return bytes(changed)
        case 2:  # the end is missing, and the frame says so or not
            short = body[: dice.randrange(len(body))]
            return line.frame(short, request) if dice.random() < 0.7 else line.frame(body, request)[: len(short)]
        case 3:  # another count of results than there are, or than were asked for
            place = 28
            return line.frame(body[:place] + dice.randbytes(4) + body[place + 4 :], request)
        case 4:
            number = dice.choice([n for n in (0, 1, 2, 5, 40) if n != count])
            return line.frame(read_response(data_values(dice, number)[0]), request)
        case 5:  # another request
            return line.frame(body, dice.choice((request + 1, 0, 2**32 - 1)))
        case 6:  # another service
            return line.frame(_other_service(dice, body), request)
        case 7:
            return line.frame(body, request) * 2 if dice.random() < 0.5 else line.frame(body, request) + b"MSG"
        case 8:  # in chunks, right or with the last one missing, taken back or of another request
            at = dice.randrange(len(body))
            second = dice.choice((b"F", b"F", b"C", b"A", b"x"))
            other = request if dice.random() < 0.8 else request + 1
            return line.frame(body[:at], request, final=b"C") + line.frame(body[at:], other, final=second)
        case _:
            return line.frame(body, request)


def _other_service(dice: random.Random, body: bytes) -> bytes:
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(dice.choice((0, 0x8010_0000, 0x8025_0000, 0x8001_0000)))
    makes = (
        lambda: bytes(struct_to_binary(fault)),
        lambda: bytes(struct_to_binary(fault)) + body[28:],
        lambda: publish_response(data_change(data_values(dice, 2)[0])),
        lambda: bytes(struct_to_binary(ua.BrowseResponse())),
        lambda: b"\x01\x00" + dice.randbytes(2) + body[4:],  # the right body under another name
        lambda: dice.randbytes(2) + body[2:],
    )
    return dice.choice(makes)()


async def _through_a_session(result: Result, count: int, dice: random.Random, say: Progress) -> None:
    line = Line()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: result.crashed.append(f"in the loop: {context.get('exception')!r}"))
    try:
        for number in range(count):
            if number % 1000 == 0:
                say(f"{number:,} answers to a session")
            tags = dice.choice(Line.COUNTS)
            items, expected = data_values(dice, tags)
            body = read_response(items)
            begin = time.perf_counter()
            state = dice.getstate()
            try:
                got = await line.hear(
                    tags, lambda request, body=body, tags=tags: answers(line, dice, body, tags, request)
                )
            except DriverError:
                result.refused += 1
                await line.drop()
                line.open()
            except Exception as bug:  # noqa: BLE001 – whatever it is, it is counted
                result.crashed.append(f"answer {number}: {type(bug).__name__}: {bug}")
                await line.drop()
                line.open()
            else:
                if got == expected and list(map(_types, got)) == list(map(_types, expected)):
                    result.right += 1
                else:
                    again = random.Random()
                    again.setstate(state)
                    result.wrong.append(f"answer {number}, case {again.randrange(12)}: {got} for {expected}")
            result.slowest_s = max(result.slowest_s, time.perf_counter() - begin)
            result.answers += 1
    finally:
        await line.drop()
        loop.set_exception_handler(None)


def _types(each: Outcome) -> type:
    return type(each[0])


# ------------------------------------------------------------------------------------------- against asyncua's decoder


def _against_asyncua(result: Result, count: int, dice: random.Random, say: Progress) -> None:
    for number in range(count):
        if number % 1000 == 0:
            say(f"{number:,} answers against asyncua's decoder")
        items, _ = data_values(dice, dice.choice((0, 1, 4, 12)))
        publishing = number % 2 == 1
        whole = publish_response(data_change(items)) if publishing else read_response(items)
        raw = _changed(dice, whole)
        ours, theirs = (published, theirs_published) if publishing else (read_results, theirs_read)
        begin = time.perf_counter()
        try:
            with patch.multiple(wire, **ORDER_OF_ASYNCUA):
                mine = outcome(ours, raw)
            result.slowest_s = max(result.slowest_s, time.perf_counter() - begin)
            same = mine == outcome(theirs, raw)
        except Exception as bug:  # noqa: BLE001 – whatever it is, it is counted
            result.crashed.append(f"{type(bug).__name__}: {bug}: {raw.hex()}")
        else:
            result.same += same
            if not same:
                result.wrong.append(f"{mine}: {raw.hex()}")
        result.answers += 1


def _changed(dice: random.Random, raw: bytes) -> bytes:
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(raw) + 1)
        match dice.randrange(6):
            case 0:
                raw = raw[:at]
            case 1:
                raw = raw[:at] + dice.randbytes(dice.randint(1, 4)) + raw[at:]
            case 2:
                raw = raw[:at] + raw[at + dice.randint(1, 4) :]
            case 3:
                raw = raw[:at] + dice.choice((b"\xff\xff\xff\x7f", b"\xff" * 4, bytes(4))) + raw[at + 4 :]
            case _:
                raw = raw[:at] + dice.randbytes(1) + raw[at + 1 :]
    return raw


def run(count: int, say: Progress, seed: int = 1) -> Result:
    """That many answers, half of each sort."""
    result, dice = Result(), random.Random(seed)
    begin = time.monotonic()
    with _silence():
        asyncio.run(_through_a_session(result, count // 10, dice, say))  # what grows at first is not a leak
        _against_asyncua(result, count // 10, dice, say)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        asyncio.run(_through_a_session(result, count // 2 - count // 10, dice, say))
        _against_asyncua(result, count - count // 2 - count // 10, dice, say)
    result.seconds = time.monotonic() - begin
    result.grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    return result


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """asyncua writes a traceback for nearly every answer."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def control(count: int, say: Progress, seed: int = 3) -> Result:  # it does not take every seed as few as this
    """With the bytes that asyncua stumbles over not told from mistakes of our own."""
    result = Result()
    with _silence(), patch.object(failures, "BROKEN", ()):
        asyncio.run(_through_a_session(result, count, random.Random(seed), say))
    return result


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    result = await asyncio.to_thread(run, QUICK_ANSWERS if quick else ANSWERS, say)
    broken = await asyncio.to_thread(control, CONTROL_ANSWERS, say)
    text = (
        f"{result.answers:,} answers in {result.seconds:.0f} s: of those to a session {result.right:,} right and "
        f"{result.refused:,} refused, of the others {result.same:,} as asyncua decodes them; {len(result.crashed)} "
        f"crashes, {len(result.wrong)} wrong values; slowest {result.slowest_s:.2f} s, "
        f"memory grew by {result.grown_kb:,} kB"
    )
    kept = not (result.wrong or result.crashed) and result.right > 0
    kept = kept and result.slowest_s < SLOWEST_S and result.grown_kb <= GROWTH_KB
    return Reached(
        "; ".join([text, *result.crashed[:2], *result.wrong[:2]]),
        kept,
        control=f"asyncua's stumbling taken for our own mistakes: {len(broken.crashed)} of {broken.answers:,} crash",
        control_failed=bool(broken.crashed),
    )


PROOF = Proof(
    "fuzz-opcua",
    "answers of OPC UA servers that are wrong in every way",
    "50,000, 0 crashes, hangs, wrong values",
    prove,
)
