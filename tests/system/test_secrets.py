"""No secret comes out anywhere (fault M12): log, status, metrics, errors of a wrong file, ``check``, MQTT."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.http_scripted import Answer, Asked, ScriptedHttp, scripted_http
from tests.support.mosquitto import Mosquitto, Subscriber, mosquitto
from tests.support.processes import free_ports, gateway_command, run_process, run_to_end
from tests.support.waiting import until

pytestmark = pytest.mark.system

IN_FILE = "secret-in-gateway-yaml"
IN_ENVIRONMENT = "secret-in-the-environment"
PASSWORD_FILE = "secret-in-a-password-file"  # noqa: S105
TOKEN_FILE = "secret-in-a-token-file"  # noqa: S105
ROTATED = "secret-that-came-later"
PLC = "secret-of-the-plc"
API = "secret-of-the-api"
SECRETS = (IN_FILE, IN_ENVIRONMENT, PASSWORD_FILE, TOKEN_FILE, ROTATED, PLC, API)


def _files(folder: Path, broker: Mosquitto, database: ScriptedHttp) -> Path:
    """A configuration with a secret in every place that one may stand in."""
    api_port, nobody = free_ports(2)
    for name, secret in (("password", PASSWORD_FILE), ("token", TOKEN_FILE), ("api", API), ("plc", PLC)):
        (folder / name).write_text(f"{secret}\n")
    node = {"name": "t", "node": "nsu=urn:plc;s=t"}
    plc = {
        "id": "plc",
        "type": "opcua",
        "endpoint": f"opc.tcp://127.0.0.1:{nobody}",
        "security": {"policy": "None"},
        "username": "me",
        "password_file": str(folder / "plc"),
        "devices": [{"id": "plc", "tags": [node]}],
    }
    (folder / "lines").mkdir()
    (folder / "lines" / "pl1.yaml").write_text(yaml.safe_dump({"line": "pl1", "links": [plc]}))
    where: dict[str, Any] = {"host": "127.0.0.1", "port": broker.port, "type": "mqtt", "username": "me"}
    web: dict[str, Any] = {"type": "influxdb", "url": database.url, "bucket": "pilot", "timeout_s": 2}
    content = {
        "gateway": "gw1",
        "site": "wuxi",
        "journal": {"directory": str(folder / "journal")},
        "sinks": {
            "one": {**where, "client_id": "one", "password": IN_FILE},
            "two": {**where, "client_id": "two", "password_file": "password"},
            "three": {**web, "token_file": "token"},
            "four": web,
        },
        "api": {"port": api_port, "token_file": "api"},
        "log": {"level": "debug"},
    }
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def _shown(database: ScriptedHttp) -> set[str]:
    """What was shown to it so far."""
    return {asked.headers["authorization"] for asked in database.asked}


async def test_m12_no_secret_comes_out_anywhere(tmp_path: Path) -> None:
    said: dict[str, str] = {}

    def echo(asked: Asked) -> Answer:
        """A server that quotes what it was shown."""
        return Answer(500, f'{{"message":"cannot look up {asked.headers.get("authorization")}"}}')

    async with mosquitto(tmp_path) as broker, Subscriber(broker.port) as heard, scripted_http() as database:
        database.answer = echo
        file = _files(tmp_path, broker, database)
        environment = {**os.environ, "PILOT_GATEWAY__SINKS__FOUR__TOKEN": IN_ENVIRONMENT}
        checked = await run_to_end(*gateway_command("check", str(file)), env=environment)
        assert checked.code == 0, checked.stderr
        said["check"] = checked.stdout + checked.stderr
        command = gateway_command("serve", "--config", str(file))
        async with run_process(*command, ready="ready$", env=environment) as gateway:
            port = (await gateway.wait_for(r"the API listens on http://127\.0\.0\.1:(\d+)"))[1]
            await heard.hear("/plc/data")
            await until(lambda: len(_shown(database)) == 2, "both databases are written to", 20)
            assert _shown(database) == {f"Token {TOKEN_FILE}", f"Token {IN_ENVIRONMENT}"}, "the secrets are in use"
            (tmp_path / "token").write_text(f"{ROTATED}\n")
            await until(lambda: any(ROTATED in a.headers["authorization"] for a in database.asked), "the new token", 30)
            async with httpx.AsyncClient(trust_env=False, timeout=10, base_url=f"http://127.0.0.1:{port}") as api:
                api.headers["authorization"] = f"Bearer {API}"
                for path in ("/api/v1/status", "/api/v1/devices", "/api/v1/live", "/metrics", "/readyz", "/healthz"):
                    said[path] = (await api.get(path)).text
                assert "cannot look up Token ***" in said["/api/v1/status"]
                good = file.read_text()
                file.write_text(good.replace(f"password: {IN_FILE}", f"password: [{IN_FILE}]"))
                refused = await api.post("/api/v1/reload")
                assert refused.status_code == 422, refused.text
                said["reload"] = refused.text
                wrong = await run_to_end(*gateway_command("check", str(file)), env=environment)
                assert wrong.code == 78
                said["check of a wrong file"] = wrong.stdout + wrong.stderr
                said["status after it"] = (await api.get("/api/v1/status")).text
            assert await gateway.stop() == 0
            said["log"] = gateway.output
    said["mqtt"] = " ".join(f"{m.topic} {m.payload!r}" for m in heard.heard)
    assert all(said.values())
    assert [(place, secret) for place, text in said.items() for secret in SECRETS if secret in text] == []
