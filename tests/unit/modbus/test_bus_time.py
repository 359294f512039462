"""How long a bus is taken, and that ``check`` says when it cannot be enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drivers.modbus.plan import describe
from gateway.cli.check import crowded, examine
from tests.support.modbus_links import make_link

METER = {
    "id": "meter",
    "function": 4,
    "tags": [{"name": f"t{i}", "register": 2 * i, "type": "float32"} for i in (0, 9)],
}


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        # 8 + 5 + 40 characters of 10 bits and two gaps of 3.5: 600 bits
        ({"baud_rate": 9600}, 600 / 9600),
        ({"baud_rate": 9600, "parity": "even"}, 660 / 9600),
        ({"baud_rate": 9600, "stop_bits": 2, "pause_ms": 20}, 660 / 9600 + 0.02),
        ({"baud_rate": 115_200}, 530 / 115_200 + 0.0035),
    ],
)
def test_seconds_of_a_request(options: dict[str, Any], seconds: float) -> None:
    (row,) = describe(make_link([METER], "/dev/ttyS9", type="modbus-rtu", **options))
    assert row.seconds == pytest.approx(seconds)


def test_the_bus_behind_a_converter_is_known_by_its_baud_rate() -> None:
    assert [row.seconds for row in describe(make_link([METER], 502))] == [0.0]
    (row,) = describe(make_link([METER], 502, baud_rate=9600))
    assert row.seconds == pytest.approx(600 / 9600)


@pytest.mark.parametrize(("period_s", "warned"), [(0.05, True), (1, False)])
def test_check_says_when_a_bus_cannot_keep_up(period_s: float, warned: bool, tmp_path: Path) -> None:
    file = tmp_path / "line.yaml"
    file.write_text(
        f"site: s\nline: l\nlinks:\n  - {{id: b, type: modbus-rtu, port: /dev/ttyS9, devices: [{{id: d, "
        f"period_s: {period_s}, tags: [{{name: a, register: 0}}, {{name: z, register: 15}}]}}]}}\n"
    )
    result = examine([file])
    assert [("link b: its requests take" in sentence) for sentence in crowded(result)] == [True] * warned


def test_a_value_that_must_be_read_alone() -> None:
    tags = [{"name": f"t{i}", "register": i, "alone": i == 2} for i in range(5)]
    rows = describe(make_link([{"id": "d", "tags": tags}], 502))
    assert [row.request for row in rows] == [
        "FC3 0x0002-0x0002, 1 register",
        "FC3 0x0000-0x0001, 2 registers",
        "FC3 0x0003-0x0004, 2 registers",
    ]
