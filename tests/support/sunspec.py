"""A SunSpec device of our own making: models described here, in the layout of the public ones, and their registers."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.modbus_scripted import Behaviour, Question


def point(name: str, kind: str, size: int = 1, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "size": size, **more}


def model(number: int, name: str, points: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    head = [point("ID", "uint16"), point("L", "uint16")]
    return {"id": number, "group": {"name": name, "label": name.title(), "points": [*head, *points], **more}}


PLATE = model(1, "common", [point("Mn", "string", 4), point("Md", "string", 4), point("Pad", "pad")])
METER = model(
    64_001,
    "test_meter",
    [
        point("W", "int16", sf="W_SF", units="W", label="Watts"),
        point("W_SF", "sunssf"),
        point("PhVphA", "uint16", sf=-1, units="V"),
        point("TotWhExp", "acc32", 2, sf="W_SF", units="Wh"),
        point("St", "enum16", symbols=[{"name": "OFF", "value": 1}, {"name": "ON", "value": 2}]),
        point("Evt", "bitfield32", 2, symbols=[{"name": "HOT", "value": 0}, {"name": "COLD", "value": 3}]),
        point("Tmp", "int16", units="C"),
        point("Flow", "float32", 2, units="furlong"),
        point("N", "count"),
    ],
    groups=[{"name": "string", "count": "N", "points": [point("DCV", "uint16", sf="V_SF"), point("V_SF", "sunssf")]}],
)


def text(value: str, registers: int) -> bytes:
    return value.encode().ljust(2 * registers, b"\0")


def block(number: int, data: bytes) -> bytes:
    return struct.pack(">HH", number, len(data) // 2) + data


METER_DATA = (
    struct.pack(">hhHIHI", 1234, -1, 2305, 70_000, 2, 0b1001)
    + b"\x80\x00"  # no temperature
    + struct.pack(">f", 1.5)
    + struct.pack(">H", 2)
    + struct.pack(">HhHh", 4000, -1, 3990, -2)
)


def image() -> bytes:
    """Registers from the marker on: plate, two meters, one that nobody knows, the end."""
    plate = block(1, text("Acme", 4) + text("Sun 1", 4) + b"\x80\x00")
    return b"SunS" + plate + block(64_001, METER_DATA) * 2 + block(64_999, bytes(6)) + b"\xff\xff\0\0"


def write_models(folder: Path, models: Sequence[Mapping[str, Any]] = (PLATE, METER)) -> Path:
    folder.mkdir(exist_ok=True)
    for each in models:
        (folder / f"model_{each['id']}.json").write_text(json.dumps(each))
    return folder


def reading(registers: bytes, base: int, unit: int = 126) -> Behaviour:
    """A server's behaviour: these registers from ``base`` on, at function 3; anything else is exception 2."""

    def answer(question: Question) -> Sequence[bytes]:
        low, high = 2 * (question.start - base), 2 * (question.start - base + question.count)
        if question.function != 3 or question.unit != unit or low < 0 or high > len(registers):
            return (question.frame(bytes((question.function | 0x80, 2))),)
        return (question.frame(bytes((3, high - low)) + registers[low:high]),)

    return answer
