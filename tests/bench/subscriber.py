"""A counting MQTT subscriber: 3.1.1 over a bare socket, independent of the gateway's own MQTT library.

    python -m tests.bench.subscriber --port 1883 --output subscriber.json

Counts every ``data`` message by (device, boot, seq), so that what is lost or comes twice is known and not guessed;
keeps when each came and how old its values were. Prints a line of totals twice a second; SIGTERM writes everything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import struct
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson
import uvloop

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ = 1, 2, 3, 4, 8, 9, 12
KEEPALIVE_S = 60


def packet(kind: int, flags: int, body: bytes) -> bytes:
    """One MQTT control packet."""
    length, encoded = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([kind << 4 | flags]) + bytes(encoded) + body


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw


@dataclass(slots=True)
class Tally:
    """What came."""

    messages: int = 0
    values: int = 0  # usable ones
    bad: int = 0  # tags named as bad
    copies: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # by device, boot, seq
    scans: dict[str, set[int]] = field(default_factory=dict)  # by device: numbers of the farm's scans
    first_s: dict[str, float] = field(default_factory=dict)  # by device: when its first values came, unix time
    arrived_s: array[float] = field(default_factory=lambda: array("d"))  # unix time of each message
    age_ms: array[float] = field(default_factory=lambda: array("d"))  # of its values when it came
    length: int = 0  # bytes of all payloads
    sizes: array[int] = field(default_factory=lambda: array("L"))  # usable values of each message that has some
    counters: dict[tuple[str, str], int] = field(default_factory=dict)  # by device and tag: the newest number …
    missing: int = 0  # … numbers that it has jumped over …
    repeated: int = 0  # … and those that came again

    def take(self, topic: str, payload: bytes) -> None:
        now = time.time()
        message: dict[str, Any] = orjson.loads(payload)
        device = topic.rsplit("/", 2)[1]
        values = message.get("values", {})
        self.messages += 1
        self.length += len(payload)
        self.copies[device, message["boot"], message["seq"]] += 1
        self.bad += len(message.get("bad", ()))
        self.values += len(values)
        if values:
            self.first_s.setdefault(device, now)
            if "t000" in values:
                self.scans.setdefault(device, set()).add(int(values["t000"]))
            self.arrived_s.append(now)
            self.age_ms.append(now * 1000 - message["time"])
            self.sizes.append(len(values))
            for tag, number in values.items():
                if tag.startswith("counter"):
                    self._count(device, tag, number)

    def _count(self, device: str, tag: str, number: int) -> None:
        """A tag that rises by one with every value shows by itself what is missing."""
        before = self.counters.get((device, tag))
        if before is not None and number <= before:
            self.repeated += 1
            return
        if before is not None:
            self.missing += number - before - 1
        self.counters[device, tag] = number

    def report(self) -> dict[str, Any]:
        return {
            "messages": self.messages,
            "values": self.values,
            "bad": self.bad,
            "bytes": self.length,
            "twice": sum(count - 1 for count in self.copies.values()),
            "gaps": self._gaps(),
            "scans": {device: len(numbers) for device, numbers in self.scans.items()},
            "first_s": self.first_s,
            "arrived_s": self.arrived_s.tolist(),
            "age_ms": self.age_ms.tolist(),
            "sizes": self.sizes.tolist(),
            "missing": self.missing,
            "repeated": self.repeated,
        }

    def _gaps(self) -> int:
        """Sequence numbers that are missing between the first and the last of a device and start."""
        seen: dict[tuple[str, str], set[int]] = {}
        for device, boot, seq in self.copies:
            seen.setdefault((device, boot), set()).add(seq)
        return sum(max(numbers) - min(numbers) + 1 - len(numbers) for numbers in seen.values())


class Subscriber(asyncio.Protocol):
    """One session with the broker."""

    def __init__(self, topic: str, tally: Tally) -> None:
        self._topic = topic
        self._tally = tally
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        clean_session = 2
        body = text("MQTT") + bytes([4, clean_session]) + struct.pack(">H", KEEPALIVE_S) + text("bench-subscriber")
        self._transport.write(packet(CONNECT, 0, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def ping(self) -> None:
        assert self._transport is not None
        self._transport.write(packet(PINGREQ, 0, b""))

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        data = self._rest + data
        at, answers = 0, bytearray()
        while (found := _frame(data, at)) is not None:
            body, end = found
            kind, flags = data[at] >> 4, data[at] & 15
            if kind == PUBLISH:
                qos = flags >> 1 & 3
                size = struct.unpack_from(">H", data, body)[0]
                topic = data[body + 2 : body + 2 + size].decode()
                body += 2 + size
                if qos:
                    answers += bytes([PUBACK << 4, 2]) + data[body : body + 2]
                    body += 2
                self._tally.take(topic, data[body:end])
            elif kind == CONNACK:
                if data[body + 1]:
                    raise SystemExit(f"the broker refused the subscriber: code {data[body + 1]}")
                answers += packet(SUBSCRIBE, 2, struct.pack(">H", 1) + text(self._topic) + b"\x01")
            elif kind == SUBACK:
                print("ready", flush=True)
            at = end
        self._rest = data[at:]
        if answers:
            self._transport.write(bytes(answers))


def _frame(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the body of the packet at ``at`` begins and ends; None while it is not complete."""
    length, position = 0, at + 1
    for shift in (0, 7, 14, 21):
        if position >= len(data):
            return None
        length |= (data[position] & 0x7F) << shift
        position += 1
        if data[position - 1] < 0x80:
            break
    return (position, position + length) if position + length <= len(data) else None


async def run(port: int, topic: str, tally: Tally) -> None:
    """Until SIGTERM, or until the broker closes the connection."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    transport, session = await loop.create_connection(lambda: Subscriber(topic, tally), "127.0.0.1", port)
    pinged = loop.time()
    while not ended.is_set() and not session.lost.done():
        try:
            async with asyncio.timeout(0.5):
                await ended.wait()
        except TimeoutError:
            print(f"messages {tally.messages} values {tally.values}", flush=True)
        if loop.time() - pinged > KEEPALIVE_S / 2:
            pinged = loop.time()
            session.ping()
    transport.close()
    if session.lost.done():
        raise SystemExit("the broker closed the connection")


def main() -> None:
    parser = argparse.ArgumentParser(description="count the data messages of a gateway")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", default="pilot/v1/+/+/+/data")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    tally = Tally()
    try:
        uvloop.run(run(options.port, options.topic, tally))
    finally:
        options.output.write_text(json.dumps(tally.report()))


if __name__ == "__main__":
    main()
