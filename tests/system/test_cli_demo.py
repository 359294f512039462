"""``pilot-gateway demo``: the main job, from simulated instruments to a subscriber of the broker."""

from __future__ import annotations

import asyncio
import re
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

from gateway.cli.places import config_folder
from gateway.settings import load_line_file
from tests.support.processes import descendants, gateway_command, program, run_process, run_to_end

pytestmark = pytest.mark.system

NUMBERS = re.compile(r"^(accepted|delivered|arrived) +([\d,]+) readings in ([\d,]+) records", re.MULTILINE)


def _numbers(output: str) -> dict[str, tuple[int, int]]:
    return {what: (_int(readings), _int(records)) for what, readings, records in NUMBERS.findall(output)}


def _int(text: str) -> int:
    return int(text.replace(",", ""))


async def test_everything_accepted_arrives_at_a_subscriber(tmp_path: Path) -> None:
    program("mosquitto")
    ended = await run_to_end(
        *gateway_command("demo", "--duration", "5", "--no-live", "--data", str(tmp_path)), deadline_s=90
    )
    assert ended.code == 0, ended.stderr
    tags = sum(len(device.tags) for device in load_line_file(config_folder() / "lines" / "reactor-skid.yaml").devices)
    assert f"{tags} of {tags} tags good" in ended.stdout
    numbers = _numbers(ended.stdout)
    assert numbers["accepted"][0] > tags
    # the gateway goes on between two looks: what has arrived lies between what was delivered and a little more
    assert numbers["delivered"][1] <= numbers["arrived"][1]
    assert numbers["accepted"][1] - numbers["delivered"][1] <= 20
    assert "mosquitto_sub -h 127.0.0.1" in ended.stdout


async def test_amqtt_serves_where_there_is_no_mosquitto(tmp_path: Path) -> None:
    assert find_spec("amqtt"), "amqtt is not installed: the extra demo"
    code = (
        "from gateway.demo import broker; broker.mosquitto = lambda: None; from gateway.cli import main;"
        f"main(['demo', '--duration', '2', '--no-live', '--data', {str(tmp_path)!r}])"
    )
    ended = await run_to_end(gateway_command()[0], "-c", code, deadline_s=90)
    assert ended.code == 0, ended.stderr
    assert "(amqtt)" in ended.stdout
    assert _numbers(ended.stdout)["arrived"][0] > 0


async def test_ctrl_c_ends_it_cleanly_with_the_summary(tmp_path: Path) -> None:
    async with run_process(*gateway_command("demo", "--no-live", "--data", str(tmp_path))) as demo:
        await demo.wait_for("readings accepted", 60)
        children = set(descendants(demo.pid))
        assert len(children) == 3
        demo.child.send_signal(signal.SIGINT)
        assert await demo.wait_ended(30) == 0
        assert _numbers(demo.output)
        assert not [pid for pid in children if _runs(pid)]


async def test_nothing_is_left_when_it_is_killed(tmp_path: Path) -> None:
    async with run_process(*gateway_command("demo", "--no-live", "--data", str(tmp_path))) as demo:
        await demo.wait_for("readings accepted", 60)
        children = set(descendants(demo.pid))
        assert len(children) == 3
        demo.child.kill()
        assert await demo.wait_ended() == -signal.SIGKILL
        async with asyncio.timeout(20):
            while True:
                if not any(_runs(pid) for pid in children):
                    return
                await asyncio.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # a zombie has ended; whoever inherited it has not looked yet
