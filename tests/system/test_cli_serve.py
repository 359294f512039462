"""``pilot-gateway serve`` as systemd and people see it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import ROOT, Process, free_ports, gateway_command, run_process, run_to_end

pytestmark = pytest.mark.system

UNSEEN = "not-to-be-seen"


def _config(folder: Path, **changes: Any) -> Path:
    """A gateway.yaml whose instruments and broker are not there."""
    modbus, mqtt = free_ports(2)
    (folder / "lines").mkdir()
    (folder / "templates").symlink_to(ROOT / "config" / "templates")
    line = {
        "line": "pl1",
        "links": [
            {
                "id": "bus",
                "type": "modbus-tcp",
                "host": "127.0.0.1",
                "port": modbus,
                "devices": [{"id": "meter", "template": "eastron-sdm630"}],
            }
        ],
    }
    (folder / "lines" / "pl1.yaml").write_text(yaml.safe_dump(line))
    content = {
        "gateway": "gw1",
        "site": "wuxi",
        "journal": {"directory": str(folder / "journal")},
        "sinks": {"mqtt": {"host": "127.0.0.1", "port": mqtt, "username": "gw", "password": UNSEEN}},
        "api": {"port": 0},
        "log": {"format": "json"},
        **changes,
    }
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@asynccontextmanager
async def _served(config: Path, **environment: str) -> AsyncIterator[tuple[Process, int]]:
    """A gateway that has said that it is ready, and the port of its API."""
    async with run_process(*gateway_command("serve", "--config", str(config)), env=environment) as gateway:
        await gateway.wait_for('"message":"ready"')
        match = await gateway.wait_for(r"the API listens on http://127\.0\.0\.1:(\d+)")
        yield gateway, int(match[1])


async def test_starts_without_instruments_and_broker_and_stops_cleanly_when_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        async with _served(_config(tmp_path), NOTIFY_SOCKET=str(tmp_path / "notify")) as (gateway, port):
            assert await asyncio.to_thread(systemd.recv, 100) == b"READY=1"
            assert (await _get(port, "/healthz"))["status"] == "alive"
            await _until_offline(port)
            told = time.monotonic()
            gateway.send(signal.SIGTERM)
            assert await asyncio.to_thread(systemd.recv, 100) == b"STOPPING=1"
            assert await gateway.wait_ended() == 0
            assert time.monotonic() - told < 6  # the promise is 5 s; this machine may be busy
    assert UNSEEN not in gateway.output
    for line in gateway.lines:
        assert {"time", "level", "logger", "message"} <= json.loads(line).keys()


async def test_a_wrong_configuration_is_exit_78_with_file_and_line(tmp_path: Path) -> None:
    config = _config(tmp_path, jurnal={"directory": "x"})
    ended = await run_to_end(*gateway_command("serve", "--config", str(config)))
    assert ended.code == 78
    assert "gateway.yaml:" in ended.stderr
    assert "jurnal" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert UNSEEN not in ended.stderr


async def test_two_gateways_on_one_journal_is_a_sentence(tmp_path: Path) -> None:
    config = _config(tmp_path)
    async with _served(config):
        second = await run_to_end(*gateway_command("serve", "--config", str(config)))
    assert second.code == 1
    [line] = [json.loads(line) for line in second.stderr.splitlines() if '"critical"' in line]
    assert line["message"].startswith("cannot run: ")
    assert "Traceback" not in second.stderr


async def test_a_taken_api_port_does_not_stop_the_polling(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = _config(tmp_path, api={"port": taken.getsockname()[1]})
        async with run_process(*gateway_command("serve", "--config", str(config))) as gateway:
            await gateway.wait_for("another program has that port")
            await gateway.wait_for('"message":"ready"')
            assert gateway.returncode is None


async def _until_offline(port: int) -> None:
    """Until the link has been tried in vain and the gateway calls itself ready all the same."""
    async with asyncio.timeout(20):
        while True:
            status = await _get(port, "/api/v1/status")
            if status["ready"] and status["links"][0]["failures"]:
                break
            await asyncio.sleep(0.05)
    assert status["links"][0]["state"] != "online"
    assert status["plaintext"] == ["link bus: modbus-tcp without protection", "sink mqtt: without TLS"]


async def _get(port: int, path: str) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    content: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return content
