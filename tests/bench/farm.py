"""A farm of Modbus TCP devices in one process, cheap enough never to be what is measured.

    python -m tests.bench.farm --devices 50 --tags 200 --output farm.json

Each device has a port of its own and answers function 3 from ready-made register images of noisy float32; with every
scan (a request that covers register 0) it turns to the next image. Tag 0 is the number of that scan, so that a
receiver can see which scans reached it. SIGUSR1 ends every device after the scan it is in: it stays connected and
silent. SIGTERM writes what it counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import struct
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvloop

IMAGES = 64
READ_HOLDING_REGISTERS = 3
READS = (1, 2, 3, 4)
REQUEST = struct.Struct(">HHHBBHH")  # transaction, protocol, length, unit, function, start, count
HEADER = struct.Struct(">HHHBBB")  # transaction, protocol, length, unit, function, bytes that follow
FIRST_TAG = struct.Struct(">f")


@dataclass(slots=True)
class Device:
    """One instrument: its images, and what it was asked."""

    images: Sequence[bytearray]
    delay_s: Callable[[], float] | None
    image: bytearray = field(init=False)
    scans: int = 0
    requests: int = 0
    registers: int = 0
    writes: int = 0  # requests of any function that does not read
    connections: int = 0
    silent: bool = False
    last: bool = False  # fall silent with the next scan
    times_s: array[float] = field(default_factory=lambda: array("d"))  # of each scan's first request, monotonic

    def __post_init__(self) -> None:
        self.image = self.images[0]

    def answer(self, transaction: int, unit: int, function: int, start: int, count: int) -> bytes:
        """The frame to send back; empty: say nothing."""
        self.requests += 1
        if function not in READS:
            self.writes += 1
        if function != READ_HOLDING_REGISTERS:
            return struct.pack(">HHHBBB", transaction, 0, 3, unit, function | 0x80, 1)
        if 2 * (start + count) > len(self.image) or not 1 <= count <= 125:
            return struct.pack(">HHHBBB", transaction, 0, 3, unit, function | 0x80, 2)
        if start == 0:
            if self.last:
                self.silent = True
            else:
                self.times_s.append(time.monotonic())
                self.image = self.images[self.scans % IMAGES]
                FIRST_TAG.pack_into(self.image, 0, self.scans)
                self.scans += 1
        if self.silent:
            return b""
        self.registers += count
        return (
            HEADER.pack(transaction, 0, 3 + 2 * count, unit, function, 2 * count)
            + self.image[2 * start : 2 * (start + count)]
        )


class Connection(asyncio.Protocol):
    """Requests in, answers out."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._device.connections += 1

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        data = self._rest + data
        at = 0
        while len(data) - at >= REQUEST.size:
            transaction, _, length, unit, function, start, count = REQUEST.unpack_from(data, at)
            if len(data) - at < 6 + length:
                break
            at += 6 + length
            frame = self._device.answer(transaction, unit, function, start, count)
            if not frame:
                continue
            if self._device.delay_s is None:
                self._transport.write(frame)
            else:
                asyncio.get_running_loop().call_later(self._device.delay_s(), self._transport.write, frame)
        self._rest = data[at:]


def make_images(tags: int, chance: random.Random) -> list[bytearray]:
    """Register images of one device: each tag around a level of its own, with noise in every digit."""
    levels = [chance.uniform(0.5, 500) for _ in range(tags)]
    pack = struct.Struct(f">{tags}f").pack
    return [bytearray(pack(*(level * chance.gauss(1, 0.01) for level in levels))) for _ in range(IMAGES)]


async def serve(devices: Sequence[Device]) -> None:
    """Until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def stop_answering() -> None:
        for device in devices:
            device.last = True
        print("silent", flush=True)

    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGUSR1, stop_answering)
    servers = [await loop.create_server(partial(Connection, device), "127.0.0.1", 0) for device in devices]
    print("ready", *(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await ended.wait()
    for server in servers:
        server.close()


def report(devices: Sequence[Device]) -> dict[str, Any]:
    """What was counted; ``times_s`` holds the monotonic time of every scan of every device."""
    return {
        "scans": [device.scans for device in devices],
        "requests": sum(device.requests for device in devices),
        "registers": sum(device.registers for device in devices),
        "writes": sum(device.writes for device in devices),
        "connections": sum(device.connections for device in devices),
        "times_s": [device.times_s.tolist() for device in devices],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Modbus TCP devices with noisy float32")
    parser.add_argument("--devices", type=int, required=True)
    parser.add_argument("--tags", type=int, required=True, help="float32 values per device, from register 0 on")
    parser.add_argument("--delay-ms", type=float, nargs=2, default=(0, 0), metavar=("FROM", "TO"))
    parser.add_argument("--output", type=Path, required=True, help="where to write what was counted")
    options = parser.parse_args()
    low, high = options.delay_ms
    chance = random.Random(1)
    delay = (lambda: chance.uniform(low, high) / 1000) if high else None
    devices = [Device(make_images(options.tags, chance), delay) for _ in range(options.devices)]
    uvloop.run(serve(devices))
    options.output.write_text(json.dumps(report(devices)))


if __name__ == "__main__":
    main()
