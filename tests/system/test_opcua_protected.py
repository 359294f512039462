"""Protected sessions against the simulator: both modes, renewed keys, strangers, and who may say what."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.opcua import session
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.library import Client, ua
from gateway.core.clock import SystemClock
from gateway.core.errors import Refused
from gateway.core.model import Link
from tests.support.opcua_lines import PLANT, Tags, make_link
from tests.support.opcua_listening import listening
from tests.support.opcua_simulator import QuickSimulator

pytestmark = pytest.mark.system

DEVICES: Mapping[str, Tags] = {
    "reactor": [{"name": "pressure", "node": f"nsu={PLANT};s=Pressure"}],
    "feed": [{"name": "mass", "node": f"nsu={PLANT};s=Mass"}],
}
SIGNED = {"policy": "Basic256Sha256", "mode": "Sign"}
ENCRYPTED = {"policy": "Basic256Sha256"}
AES128 = {"policy": "Aes128_Sha256_RsaOaep"}
AES256 = {"policy": "Aes256_Sha256_RsaPss", "mode": "Sign"}


def link_to(port: int, pki: Path, security: Mapping[str, str], **options: Any) -> Link:
    return make_link(port, DEVICES, modes={"feed": "poll"}, pki=pki, security=security, **options)


@asynccontextmanager
async def simulated(link: Link) -> AsyncIterator[QuickSimulator]:
    simulator = QuickSimulator(link)
    await simulator.start()
    try:
        yield simulator
        assert simulator.writes == 0
    finally:
        await simulator.close()


def trust_simulator(pki: Path) -> None:
    (pki / "trusted").mkdir(exist_ok=True)
    shutil.copy(pki / "simulator" / "own" / "pilot-gateway-simulator.der", pki / "trusted")


@pytest.mark.parametrize("security", [SIGNED, ENCRYPTED, AES128, AES256])
async def test_values_come_while_keys_are_renewed(
    security: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CHANNEL_S", 100.0)
    monkeypatch.setattr(session, "RENEW_AFTER", 0.01)
    async with simulated(link_to(0, tmp_path, security)) as simulator:
        trust_simulator(tmp_path)
        driver = OpcUaDriver(link_to(simulator.port, tmp_path, security), SystemClock())
        try:
            await driver.connect()
            assert driver._session is not None
            channel = driver._session._client.uaclient.protocol._connection
            tokens: set[int] = set()
            value = 0.0
            async with listening(driver) as heard:
                while len(tokens) < 2:
                    value += 1.0
                    simulator.set("reactor", {"pressure": value})
                    simulator.set("feed", {"mass": -value})
                    await heard.until_newest("pressure", value)
                    await heard.until_newest("mass", -value)
                    tokens.add(channel.security_token.TokenId)
        finally:
            await driver.close()
    assert heard.error is None


async def test_f18_another_certificate_at_the_same_address_is_refused(tmp_path: Path) -> None:
    link = link_to(0, tmp_path, ENCRYPTED)
    async with simulated(link) as simulator:
        port = simulator.port
        trust_simulator(tmp_path)
        driver = OpcUaDriver(link_to(port, tmp_path, ENCRYPTED), SystemClock())
        await driver.connect()
        await driver.close()
    shutil.rmtree(tmp_path / "simulator")
    async with simulated(link_to(port, tmp_path, ENCRYPTED)):
        with pytest.raises(Refused, match="not trusted yet"):
            await driver.connect()
        trust_simulator(tmp_path)
        await driver.connect()
        await driver.close()


async def test_a_server_without_protection_is_refused_and_says_what_it_offers(tmp_path: Path) -> None:
    async with simulated(link_to(0, tmp_path, {"policy": "None"})) as simulator:
        driver = OpcUaDriver(link_to(simulator.port, tmp_path, ENCRYPTED), SystemClock())
        with pytest.raises(Refused, match=r"does not offer security Basic256Sha256 SignAndEncrypt, but None"):
            await driver.connect()
        await driver.close()


async def test_a_server_that_wants_protection_refuses_none(tmp_path: Path) -> None:
    async with simulated(link_to(0, tmp_path, ENCRYPTED)) as simulator:
        driver = OpcUaDriver(link_to(simulator.port, tmp_path, {"policy": "None"}), SystemClock())
        with pytest.raises(Refused, match=r"does not offer security None, but Basic256Sha256 SignAndEncrypt"):
            await driver.connect()
        await driver.close()


async def test_f17_the_simulator_can_shuffle_its_namespaces(tmp_path: Path) -> None:
    link = link_to(0, tmp_path, {"policy": "None"})
    for first in ((), ("urn:test:new", "urn:test:newer")):
        simulator = QuickSimulator(link, namespaces_first=first)
        await simulator.start()
        simulator.set("reactor", {"pressure": 7.5})
        driver = OpcUaDriver(link_to(simulator.port, tmp_path, {"policy": "None"}), SystemClock())
        try:
            await driver.connect()
            async with listening(driver) as heard:
                await heard.until_newest("pressure", 7.5)
        finally:
            await driver.close()
            await simulator.close()


async def test_f19_a_plant_where_nothing_changes_is_not_taken_for_dead(tmp_path: Path) -> None:
    """The server promises a sign of life after ten intervals: half a second here."""
    link = link_to(0, tmp_path, {"policy": "None"})
    async with simulated(link) as simulator:
        driver = OpcUaDriver(link_to(simulator.port, tmp_path, {"policy": "None"}), SystemClock())
        try:
            await driver.connect()
            assert driver._subscriptions is not None
            (subscription,) = driver._subscriptions._active.values()
            async with listening(driver) as heard:
                await heard.until_newest("pressure", 0.0)
                for _ in range(3):
                    last_s = subscription.heard_s
                    await heard.until(lambda _, s=subscription, t=last_s: s.heard_s > t, "a sign of life")  # type: ignore[misc]
            assert len(heard.values["pressure"]) == 1
        finally:
            await driver.close()


async def test_nodes_of_the_server_itself_are_read_too() -> None:
    tags = [{"name": "start", "node": "i=2257", "kind": "text"}, {"name": "level", "node": f"nsu={PLANT};i=5"}]
    async with simulated(make_link(0, {"plc": tags})) as simulator:
        simulator.set("plc", {"start": "left alone", "level": 3.5})
        driver = OpcUaDriver(make_link(simulator.port, {"plc": tags}), SystemClock())
        try:
            await driver.connect()
            async with listening(driver) as heard:
                await heard.until_newest("level", 3.5)
                await heard.until(lambda h: str(h.values["start"][0]).endswith("Z"), "when the server started")
        finally:
            await driver.close()


async def test_writes_of_clients_are_counted_and_refused(tmp_path: Path) -> None:
    simulator = QuickSimulator(link_to(0, tmp_path, {"policy": "None"}))
    await simulator.start()
    try:
        async with Client(f"opc.tcp://127.0.0.1:{simulator.port}") as client:
            index = await client.get_namespace_index(PLANT)
            node = client.get_node(ua.NodeId("Pressure", index))
            with pytest.raises(ua.UaStatusCodeError):
                await node.write_value(9.0)
            assert await node.read_value() == 0.0
        assert simulator.writes == 1
    finally:
        await simulator.close()
