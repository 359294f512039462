"""Ten million readings through one gateway, to both sinks: how much memory does it gain once it is warm?"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import httpx
import yaml

from tests.bench.measure import usage
from tests.bench.scenario import Scenario, gateway_config, line_config
from tests.bench.servers import mosquitto, victoria_metrics
from tests.prove.proof import Progress, Proof, Reached
from tests.support.processes import free_port, gateway_command, run_process

FARM = Scenario("soak", devices=50, tags=200, rate_hz=5, seconds=0)
READINGS, QUICK_READINGS = 10_000_000, 500_000
WARM = 0.2  # of the readings: by then every buffer has had its size
GROWTH_MB = 5.0
MOST_S = 900


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    readings = QUICK_READINGS if quick else READINGS
    farm = ("--devices", str(FARM.devices), "--tags", str(FARM.tags), "--output", str(folder / "farm.json"))
    async with (
        mosquitto(folder) as (_, mqtt),
        victoria_metrics(folder) as (_, influx),
        run_process(
            sys.executable, "-m", "tests.bench.farm", *farm, ready="^ready", name="farm", deadline_s=60
        ) as farming,
        httpx.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        ports = [int(port) for port in (await farming.wait_for(r"^ready (.*)"))[1].split()]
        api = free_port()
        (folder / "lines").mkdir()
        gateway = gateway_config(
            FARM, journal=str(folder / "journal"), api_port=api, mqtt_port=mqtt, influx_port=influx
        )
        (folder / "lines" / "farm.yaml").write_text(yaml.safe_dump(line_config(FARM, ports)))
        (folder / "gateway.yaml").write_text(yaml.safe_dump(gateway))
        serve = gateway_command("serve", "--config", str(folder / "gateway.yaml"))
        async with run_process(*serve, ready="API listens", deadline_s=60) as running:
            begin, warm, memory = time.monotonic(), 0.0, list[float]()
            delivered = 0
            while delivered < readings:
                await asyncio.sleep(1)
                status = (await client.get(f"http://127.0.0.1:{api}/api/v1/status")).raise_for_status().json()
                delivered = min(sink["readings"]["delivered"] for sink in status["sinks"])
                now = usage(running.pid).rss_mb
                if delivered > WARM * readings:
                    warm = warm or now
                    memory.append(now)
                say(f"{delivered:,} of {readings:,} delivered, {now:.1f} MB")
                assert time.monotonic() - begin < MOST_S, f"{delivered:,} readings after {MOST_S} s"
            took = time.monotonic() - begin
            await running.stop()
    writes = json.loads(await asyncio.to_thread((folder / "farm.json").read_text))["writes"]
    # the mean of the ends: one look may meet a buffer that is full and another one that is empty
    edge = max(1, len(memory) // 10)
    growth = sum(memory[-edge:]) / edge - sum(memory[:edge]) / edge
    text = (
        f"{delivered:,} readings to both sinks in {took:.0f} s ({delivered / took:,.0f}/s): {warm:.1f} MB when warm, "
        f"{growth:+.1f} MB at the end, at most {max(memory):.1f} MB; {writes} write requests to instruments"
    )
    return Reached(text, growth <= GROWTH_MB and writes == 0)


PROOF = Proof("soak", "memory over 10 M readings", "≤ 5 MB growth once warm", prove)
