"""``sunspec`` against a simulated device, and its template read like any other."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import cli
from gateway.core.errors import GatewayError
from tests.support.modbus_scripted import scripted
from tests.support.sunspec import METER, image, model, point, reading, write_models

pytestmark = pytest.mark.system


async def command(*arguments: str | Path) -> Result:
    """``pilot-gateway …``, in a thread so that the device goes on."""
    return await asyncio.to_thread(CliRunner().invoke, cli, [*map(str, arguments)])


async def test_a_template_is_made_and_read(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models")
    template = tmp_path / "templates" / "sun.yaml"
    template.parent.mkdir()
    line = tmp_path / "line.yaml"
    async with scripted(*[reading(image(), 40_000)] * 400) as device:
        asked = ("sunspec", f"127.0.0.1:{device.port}", "--unit", "126", "--models", models, "-o", template)
        made = await command(*asked)
        assert made.exit_code == 0, made.output
        again = await command(*asked)
        line.write_text(
            f"line: pl1\nsite: s\nlinks:\n  - {{id: b, type: modbus-tcp, host: 127.0.0.1, port: {device.port}, "
            "devices: [{id: inverter, template: sun, address: 126}]}\n"
        )
        read = await command("read", line, "--format", "json")
    assert isinstance(again.exception, GatewayError)
    assert "--force" in str(again.exception)
    text = template.read_text()
    assert "manufacturer: Acme" in text
    assert "Models without a definition, left out: 64999" in text
    assert "m64001_tmp" in text.partition("tags:")[0]  # in a comment: the device does not have it
    assert "no file model_64999.json" in made.stderr
    rows = {row["tag"]: row for row in json.loads(read.stdout)["readings"]}
    assert {row["quality"] for row in rows.values()} == {"good"}
    values = {name: row["value"] for name, row in rows.items()}
    assert values["mn"] == "Acme"
    assert values["m64001_w"] == pytest.approx(123.4)
    assert values["m64001_2_ph_vph_a"] == pytest.approx(230.5)
    assert values["m64001_tot_wh_exp"] == pytest.approx(7000.0)
    assert values["m64001_dcv_string_2"] == pytest.approx(39.9)
    assert values["m64001_st"] == "ON"
    assert {question.function for question in device.questions} == {3}


async def test_a_model_not_seen_before_is_a_file_to_add(tmp_path: Path) -> None:
    new = model(64_999, "new", [point("A", "int16", units="A"), point("B", "uint16"), point("C", "uint16")])
    models = write_models(tmp_path / "models", [METER])
    async with scripted(*[reading(image(), 0)] * 100) as device:
        asked = ("sunspec", f"127.0.0.1:{device.port}", "--unit", "126", "--models", models)
        before = await command(*asked)
        write_models(models, [new])
        after = await command(*asked)
    assert "name: a," not in before.stdout
    assert "- {name: a, register: 51, type: int16, invalid: [32768], unit: A}" in after.stdout


async def test_what_is_no_sunspec_device_is_a_sentence(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models")
    async with scripted(*[reading(bytes(40), 0)] * 10) as device:
        result = await command("sunspec", f"127.0.0.1:{device.port}", "--unit", "126", "--models", models)
    assert isinstance(result.exception, GatewayError)
    assert "no SunSpec marker at 40000, 0, 50000" in str(result.exception)
    missing = await command("sunspec", "127.0.0.1", "--models", tmp_path / "none")
    assert "there is no folder" in str(missing.exception)
