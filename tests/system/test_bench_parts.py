"""The parts of the benchmark as real processes: each counts what really came."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.bench.measure import usage
from tests.bench.servers import mosquitto, stored_values, victoria_metrics
from tests.support.processes import program, run_process, run_to_end

pytestmark = pytest.mark.system

READ_SIX = bytes.fromhex("0001 0000 0006 01 03 0000 0006")


async def test_the_farm_answers_counts_and_falls_silent(tmp_path: Path) -> None:
    output = tmp_path / "farm.json"
    command = (sys.executable, "-m", "tests.bench.farm", "--devices", "2", "--tags", "3", "--output", str(output))
    async with run_process(*command, ready="^ready") as farm:
        ports = [int(port) for port in (await farm.wait_for("^ready (.*)"))[1].split()]
        assert len(set(ports)) == 2
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[1])
        try:
            writer.write(READ_SIX + READ_SIX[:5])  # the second request comes in two pieces
            first = await asyncio.wait_for(reader.readexactly(21), 5)
            writer.write(READ_SIX[5:])
            second = await asyncio.wait_for(reader.readexactly(21), 5)
            farm.send(signal.SIGUSR1)
            await farm.wait_for("^silent")
            writer.write(READ_SIX)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.2)
        finally:
            writer.close()
            await writer.wait_closed()
    assert (first[:9], first != second) == (bytes.fromhex("0001 0000 000f 01 03 0c"), True)
    said = json.loads(output.read_text())
    assert (said["scans"], said["registers"], said["requests"], said["writes"]) == ([0, 2], 12, 3, 0)
    assert len(said["times_s"][1]) == 2


async def test_the_subscriber_counts_what_the_broker_delivers(tmp_path: Path) -> None:
    output = tmp_path / "subscriber.json"
    async with mosquitto(tmp_path) as (_, port):
        command = (sys.executable, "-m", "tests.bench.subscriber", "--port", str(port), "--output", str(output))
        async with run_process(*command, ready="^ready") as subscriber:
            for seq in (0, 2, 2):
                payload = json.dumps(
                    {"boot": "0000000a", "seq": seq, "time": int(time.time() * 1000), "values": {"t000": float(seq)}}
                )
                topic = "pilot/v1/bench/farm/d000/data"
                arguments = ("-h", "127.0.0.1", "-p", str(port), "-t", topic, "-q", "1", "-m", payload)
                done = await run_to_end(program("mosquitto_pub"), *arguments)
                assert (done.code, done.stderr) == (0, "")
            await subscriber.wait_for("messages 3 values 3")
    said = json.loads(output.read_text())
    assert (said["gaps"], said["twice"], said["scans"]) == (1, 1, {"d000": 2})
    assert 0 <= min(said["age_ms"]) < 20_000


async def test_what_the_database_stores_is_counted_copies_included(tmp_path: Path) -> None:
    async with victoria_metrics(tmp_path) as (process, port):
        now = time.time_ns()
        lines = [f"reading,device=d{i % 5} value={i}.5 {now - i * 1_000_000_000}" for i in range(100)]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            answer = await client.post("/api/v2/write", content="\n".join([*lines, lines[0]]))
            assert answer.status_code == 204
        assert await stored_values(port) == 101
        assert await stored_values(port, "nothing") == 0
        assert usage(process.pid).rss_mb > 1
