"""Control characters and megabytes in what a device says (fault M14), over the real protocol to every end."""

from __future__ import annotations

from pathlib import Path

import httpx
import orjson
import pytest
import yaml

from gateway.core.quality import Status
from tests.support.http_scripted import scripted_http
from tests.support.mosquitto import Subscriber, mosquitto
from tests.support.opcua_lines import PLANT, make_link
from tests.support.opcua_simulator import QuickSimulator
from tests.support.processes import gateway_command, run_process
from tests.support.waiting import until

pytestmark = pytest.mark.system

ODD = "\x00\x1b[31m2026-11-23 ERROR all is lost\r\nreading,line=x value=1\n\u202e\u2028" + "\\\"'{},= "
NODES = [
    {"name": "odd", "node": f"nsu={PLANT};s=odd", "kind": "text"},
    {"name": "large", "node": f"nsu={PLANT};s=large", "kind": "text"},
    {"name": "level", "node": f"nsu={PLANT};s=level"},
]


async def test_m14_odd_and_large_strings_of_a_device(tmp_path: Path) -> None:
    simulator = QuickSimulator(make_link(0, {"plc": NODES}, pki=tmp_path / "server-pki"))
    await simulator.start()
    simulator.set("plc", {"odd": ODD, "large": "温" * 500_000, "level": 7.5})
    link = {
        "id": "plc",
        "type": "opcua",
        "endpoint": f"opc.tcp://127.0.0.1:{simulator.port}",
        "security": {"policy": "None"},
        "pki": str(tmp_path / "pki"),
        "devices": [{"id": "plc", "period_s": 0.1, "tags": NODES}],
    }
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "pl1.yaml").write_text(yaml.safe_dump({"line": "pl1", "links": [link]}))
    async with mosquitto(tmp_path) as broker, Subscriber(broker.port) as heard, scripted_http() as database:
        sinks = {"mqtt": {"host": "127.0.0.1", "port": broker.port}, "influxdb": {"url": database.url, "bucket": "p"}}
        gateway_file = {"gateway": "gw1", "site": "wuxi", "sinks": sinks, "api": {"port": 0}}
        file = tmp_path / "gateway.yaml"
        file.write_text(yaml.safe_dump({**gateway_file, "journal": {"directory": str(tmp_path / "journal")}}))
        async with run_process(*gateway_command("serve", "--config", str(file)), ready="ready$") as gateway:
            port = (await gateway.wait_for(r"the API listens on http://127\.0\.0\.1:(\d+)"))[1]
            said: dict[str, object] = {}
            bad: dict[str, dict[str, object]] = {}

            def arrived() -> bool:
                for each in heard.of("/plc/data"):
                    message = orjson.loads(each.payload)
                    said.update(message["values"])
                    bad.update(message.get("bad", {}))
                return said.keys() >= {"odd", "large", "level"}

            await until(arrived, "all three tags", 30)
            await until(lambda: any(b"signal=large" in line for line in database.lines()), "its line", 20)
            async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
                live = (await client.get(f"http://127.0.0.1:{port}/api/v1/live")).json()
            assert await gateway.stop() == 0
        assert said["odd"] == ODD
        assert said["large"] == "温" * 1365  # 4 KiB of UTF-8
        assert bad["large"]["status"] == Status.UNCERTAIN
        assert said["level"] == 7.5
        [device] = live["devices"]
        assert [tag["quality"] for tag in device["tags"]] == ["good", "uncertain", "good"]
        lines = [line for line in database.lines() if b"reading,line=x" in line]
        assert lines
        assert all(line.startswith(b"reading,") and b"signal=odd" in line for line in database.lines() if line in lines)
        assert not any(b"\x1b" in line or b"\r" in line for line in database.lines())
        assert "\x1b" not in gateway.output
    await simulator.close()
