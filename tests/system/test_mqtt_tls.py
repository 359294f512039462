"""The MQTT sink over TLS: the broker's certificate is always verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import SinkUnavailable
from tests.support.batches import floats
from tests.support.certificates import certificates
from tests.support.mosquitto import Subscriber, mosquitto
from tests.support.mqtt_sink import mqtt_sink

pytestmark = pytest.mark.system

VERSIONS = pytest.mark.parametrize("version", ["3.1.1", "5"])


@VERSIONS
async def test_tls_with_a_verified_certificate(tmp_path: Path, version: str) -> None:
    certificates(tmp_path)
    settings = [f"cafile {tmp_path}/ca.pem", f"certfile {tmp_path}/server.pem", f"keyfile {tmp_path}/server.key"]
    async with mosquitto(tmp_path, "allow_anonymous true", *settings) as broker:
        sink = mqtt_sink(broker.port, version=version, tls={"ca_file": str(tmp_path / "ca.pem")})

        def trust(client: Any) -> None:
            client.tls_set(str(tmp_path / "ca.pem"))

        async with Subscriber(broker.port, configure=trust) as subscriber:
            await sink.connect()
            await sink.write(floats(300), history=False)
            await subscriber.hear("/data", 300)
        await sink.close()
        with pytest.raises(SinkUnavailable, match=r"is not accepted: .*set tls.ca_file") as refused:
            await mqtt_sink(broker.port, version=version, tls={}).connect()
        assert refused.value.slow
        with pytest.raises(SinkUnavailable, match=r"not accepted: .*IP address|mismatch|doesn't match"):
            await mqtt_sink(broker.port, host="localhost", tls={"ca_file": str(tmp_path / "ca.pem")}).connect()
        with pytest.raises(SinkUnavailable, match=r"TLS|lost|reached"):
            await mqtt_sink(broker.port, version=version, timeout_s=2).connect()


async def test_tls_to_a_plain_port_and_files_that_are_no_use(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as broker:
        with pytest.raises(SinkUnavailable, match=r"is it a TLS port|cannot be reached|does not answer"):
            await mqtt_sink(broker.port, tls={}, timeout_s=2).connect()
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(SinkUnavailable, match=r"cannot be loaded from .*junk.pem"):
        await mqtt_sink(1, tls={"ca_file": str(tmp_path / "junk.pem")}).connect()
    with pytest.raises(SinkUnavailable, match=r"missing.*absent.pem"):
        await mqtt_sink(1, tls={"ca_file": str(tmp_path / "absent.pem")}).connect()
