"""The benchmark's own counting: it must notice what is lost and what comes twice."""

from __future__ import annotations

import random
import struct

import orjson
import pytest

from tests.bench.farm import Device, make_images
from tests.bench.scenario import PRESETS, changed, line_config
from tests.bench.subscriber import Tally, _frame, packet, text


def data(seq: int, scan: float | None = None, boot: str = "0000000a") -> bytes:
    values = {} if scan is None else {"t000": scan, "t001": 2.5}
    return orjson.dumps({"boot": boot, "seq": seq, "time": 1_700_000_000_000, "values": values})


def tally(*messages: bytes) -> Tally:
    result = Tally()
    for message in messages:
        result.take("pilot/v1/bench/farm/d000/data", message)
    return result


def test_a_complete_series_has_no_gap_and_no_copy() -> None:
    report = tally(data(0, 0.0), data(1, 1.0), data(2, 2.0), data(0, 3.0, boot="0000000b")).report()
    assert (report["gaps"], report["twice"], report["values"], report["scans"]) == (0, 0, 8, {"d000": 4})


def test_a_missing_message_is_a_gap_and_a_missing_scan() -> None:
    report = tally(data(0, 0.0), data(3, 3.0)).report()
    assert (report["gaps"], report["scans"]) == (2, {"d000": 2})


def test_a_message_that_comes_again_is_a_copy_and_no_new_scan() -> None:
    report = tally(data(0, 0.0), data(0, 0.0)).report()
    assert (report["twice"], report["scans"]) == (1, {"d000": 1})


def test_a_message_without_values_is_no_first_value() -> None:
    report = tally(data(0)).report()
    assert (report["messages"], report["values"], report["first_s"]) == (1, 0, {})


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2_097_152])
def test_packets_of_every_length_are_found_again(length: int) -> None:
    raw = packet(3, 0, bytes(length))
    assert _frame(raw + b"\x30", 0) == (len(raw) - length, len(raw))
    assert _frame(raw[:-1], 0) is None


def test_text_carries_its_length() -> None:
    assert text("é") == b"\x00\x02\xc3\xa9"


def farm_device() -> Device:
    return Device(make_images(100, random.Random(7)), None)


def floats(frame: bytes) -> tuple[float, ...]:
    return struct.unpack(f">{(len(frame) - 9) // 4}f", frame[9:])


def test_a_device_counts_its_scans_and_says_which_one_it_is() -> None:
    device = farm_device()
    first = device.answer(7, 1, 3, 0, 124)
    rest = device.answer(8, 1, 3, 124, 76)
    second = device.answer(9, 1, 3, 0, 124)
    assert first[:9] == struct.pack(">HHHBBB", 7, 0, 251, 1, 3, 248)
    assert (floats(first)[0], floats(second)[0]) == (0.0, 1.0)
    assert set(floats(first)[1:]).isdisjoint(floats(second)[1:])
    assert len(floats(first)) + len(floats(rest)) == 100
    assert (device.scans, device.registers, device.writes) == (2, 324, 0)


def test_a_device_refuses_what_it_does_not_have_and_counts_writes() -> None:
    device = farm_device()
    assert device.answer(1, 1, 3, 199, 2)[7:] == b"\x83\x02"
    assert device.answer(2, 1, 6, 0, 1)[7:] == b"\x86\x01"
    assert (device.scans, device.writes) == (0, 1)


def test_a_device_that_shall_fall_silent_finishes_its_scan() -> None:
    device = farm_device()
    device.answer(1, 1, 3, 0, 124)
    device.last = True
    assert device.answer(2, 1, 3, 124, 76)
    assert not device.answer(3, 1, 3, 0, 124)
    assert not device.answer(4, 1, 3, 124, 76)
    assert device.scans == 1


def test_a_scenario_is_written_out_in_full() -> None:
    scenario = changed(PRESETS["reference"], devices=2, tags=3, rate_hz=None)
    line = line_config(scenario, (4001, 4002))
    assert [link["port"] for link in line["links"]] == [4001, 4002]
    assert [tag["register"] for tag in line["links"][1]["devices"][0]["tags"]] == [0, 2, 4]
    assert line["links"][0]["devices"][0]["period_s"] == 0.1
