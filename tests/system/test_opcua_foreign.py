"""The OPC UA driver against another implementation of OPC UA: node-opcua."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.opcua import pki
from drivers.opcua.driver import OpcUaDriver
from gateway.core.clock import SystemClock
from gateway.core.errors import Refused, Unavailable
from gateway.core.model import Link, TimeSource, Value
from gateway.core.quality import GOOD, Status
from tests.support.opcua_certificates import Authority, ServerCertificate, pem
from tests.support.opcua_foreign import PASSWORD, URI, USERNAME, SharedServer, foreign_server
from tests.support.opcua_lines import make_link
from tests.support.opcua_listening import ends, listening
from tests.support.processes import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]  # node-opcua takes its time to start

EVERY_TYPE: dict[str, tuple[str, Value, int]] = {
    # tag: (kind, value, status); the node has the same name with capitals
    "Boolean": ("bool", True, GOOD),
    "SByte": ("int", -8, GOOD),
    "Byte": ("int", 200, GOOD),
    "Int16": ("int", -16000, GOOD),
    "UInt16": ("float", 60000.0, GOOD),
    "Int32": ("int", -2_000_000_000, GOOD),
    "UInt32": ("int", 4_000_000_000, GOOD),
    "Int64": ("int", -(2**53 - 1), GOOD),
    "Float": ("float", 80.4, GOOD),
    "Double": ("float", 1.25, GOOD),
    "String": ("text", "加热", GOOD),
    "LocalizedText": ("text", "搅拌", GOOD),
    "DateTime": ("text", "2024-02-29T12:30:15.250Z", GOOD),
    "Guid": ("text", "09087e75-8e5e-499b-954f-f2a9603db28a", GOOD),
    "NotANumber": ("float", None, Status.BAD_SENSOR_FAILURE),
    "Infinite": ("float", None, Status.BAD_SENSOR_FAILURE),
    "Array": ("float", None, Status.BAD_TYPE_MISMATCH),
    "Bad": ("float", None, Status.BAD_SENSOR_FAILURE),
    "Uncertain": ("float", 7.0, Status.UNCERTAIN_SENSOR_NOT_ACCURATE),
    "Nowhere": ("float", None, Status.BAD_NODE_ID_UNKNOWN),
}
WRONG_KIND: dict[str, str] = {"Double": "int", "Int32": "bool", "String": "float", "Boolean": "int", "Guid": "bool"}


def tag(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name.lower(), "node": f"nsu={URI};s={name}", **more}


def counters(count: int) -> list[dict[str, Any]]:
    return [tag(f"Counter{n}", kind="int") for n in range(count)]


def link_to(port: int, tags: list[dict[str, Any]], mode: str = "subscribe", **options: Any) -> Link:
    return make_link(port, {"plant": tags}, modes={"plant": mode}, path="/foreign", **options)


@asynccontextmanager
async def connected(link: Link) -> AsyncIterator[OpcUaDriver]:
    driver = OpcUaDriver(link, SystemClock())
    try:
        await driver.connect()
        yield driver
    finally:
        await driver.close()


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_every_type_arrives_as_its_kind(server: SharedServer, mode: str) -> None:
    tags = [tag(name, kind=kind) for name, (kind, _, _) in EVERY_TYPE.items()]
    async with connected(link_to(server.port, tags, mode)) as driver, listening(driver) as heard:
        await heard.until(lambda h: len(h.values) == len(tags), "every tag")
    for name, (_, value, status) in EVERY_TYPE.items():
        got = heard.values[name.lower()][0], heard.status[name.lower()][0]
        assert got == (value, status), name
        assert type(got[0]) is type(value), name


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_elements_of_an_array(server: SharedServer, mode: str) -> None:
    node = f"nsu={URI};s=Array"
    tags = [{"name": f"element_{n}", "node": node, "element": n} for n in (2, 0, 3)]
    async with connected(link_to(server.port, tags, mode)) as driver, listening(driver) as heard:
        await heard.until(lambda h: len(h.values) == 3, "every element")
    assert {name: values[-1] for name, values in heard.values.items()} == {
        "element_2": 3.0,
        "element_0": 1.0,
        "element_3": None,
    }
    assert heard.status["element_3"][-1] == 0x8037_0000  # BadIndexRangeNoData


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_units_ranges_and_names_come_from_the_server_where_the_file_gives_none(
    server: SharedServer, mode: str
) -> None:
    tags = [
        tag("Analog"),
        {**tag("Analog"), "name": "given", "unit": "K", "range": [0, 50]},
        {**tag("Analog"), "name": "scaled", "scale": 10},
        tag("Signed"),
        tag("Double"),
        tag("State", kind="int"),
        tag("Mode", kind="int"),
        tag("Phase", kind="int"),
        tag("Nowhere"),
    ]
    async with connected(link_to(server.port, tags, mode)) as driver, listening(driver) as heard:
        await heard.until(lambda h: len(h.values) == len(tags), "every tag")
        device = driver.polled[0].device if mode == "poll" else driver.pushed[0].device
        assert {scan.device for scan in heard.scans} == {device}
        known = {each.name: (each.unit, each.low, each.high) for each in device.tags}
        assert known == {
            "analog": ("Cel", 0, 200),
            "given": ("K", 0, 50),
            "scaled": ("1", None, None),
            "signed": ("L/h", None, None),
            **dict.fromkeys(("double", "state", "mode", "phase", "nowhere"), ("1", None, None)),
        }
        assert {each.name: each.enum for each in device.tags if each.enum} == {
            "state": {0: "Idle", 1: "加热", 2: "Hold"},
            "mode": {0: "Off", 10: "Auto"},
            "phase": {0: "Empty", 5: "Full"},
        }
        await driver.connect()
        assert (driver.polled + driver.pushed)[0].device is device, "nothing new"


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_fields_of_a_structure(server: SharedServer, mode: str) -> None:
    expected: dict[str, tuple[str, Value]] = {
        "Running": ("bool", True),
        "Speed": ("float", 1480.5),
        "Gear": ("int", 3),
        "Hours": ("int", 12),
        "Phases[1].Name": ("text", "L2"),
        "Phases[0].Current": ("float", 1.5),
        "Zones[0]": ("int", -7),
        "Main.Current": ("float", 2.5),
        "Started": ("text", "2024-02-29T00:00:00.000Z"),
        "Label": ("text", "搅拌"),
        "Phases[2].Current": ("float", None),
        "Phases": ("float", None),
        "Main": ("float", None),
        "Nothing": ("float", None),
        "Speed.Deeper": ("float", None),
    }
    tags = [
        {"name": f"t{n}", "node": f"nsu={URI};s=Motor", "path": path, "kind": kind}
        for n, (path, (kind, _)) in enumerate(expected.items())
    ]
    tags += [
        {"name": "product", "node": "i=2256", "path": "BuildInfo.ProductUri", "kind": "text"},
        {"name": "state", "node": "i=2256", "path": "State", "kind": "int"},
        {"name": "started", "node": "i=2256", "path": "StartTime", "kind": "text"},
        {"name": "none", "node": f"nsu={URI};s=Double", "path": "Speed"},
    ]
    async with connected(link_to(server.port, tags, mode)) as driver, listening(driver) as heard:
        await heard.until(lambda h: len(h.values) == len(tags), "every tag")
    got = {path: heard.values[f"t{n}"][0] for n, path in enumerate(expected)}
    assert got == {path: value for path, (_, value) in expected.items()}
    assert {heard.status[f"t{n}"][0] for n, path in enumerate(expected) if got[path] is None} == {
        Status.BAD_TYPE_MISMATCH
    }
    assert heard.values["state"][0] == 0
    assert isinstance(heard.values["product"][0], str)
    assert str(heard.values["started"][0]).endswith("Z")
    assert heard.values["none"][0] is None


async def test_f22_a_value_of_another_type_is_never_cast(server: SharedServer) -> None:
    tags = [tag(name, kind=kind) for name, kind in WRONG_KIND.items()]
    async with connected(link_to(server.port, tags)) as driver, listening(driver) as heard:
        await heard.until(lambda h: len(h.values) == len(tags), "every tag")
    assert {name: values[0] for name, values in heard.values.items()} == {name.lower(): None for name in WRONG_KIND}
    assert {status[0] for status in heard.status.values()} == {Status.BAD_TYPE_MISMATCH}


async def test_every_change_arrives_once_in_order_with_the_time_of_the_source(
    server: SharedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A busy server may be late for a sample; what it has sampled is never lost, repeated or turned round."""
    tags = [dict(each, period_s=0.02) for each in counters(10)]
    async with connected(link_to(server.port, tags)) as driver, listening(driver) as heard:
        await heard.until(lambda h: len(h.values.get("counter9", ())) >= 15, "fifteen changes")
    for name, values in heard.values.items():
        assert values == sorted(set(values)), name  # type: ignore[type-var]
    assert {scan.time_source for scan in heard.scans} == {TimeSource.DEVICE}
    assert all(abs(scan.received_ns - scan.time_ns) < 60e9 for scan in heard.scans)
    assert driver.overflows == 0
    assert "are missing" not in caplog.text


async def test_f19_a_plant_where_nothing_changes_is_not_taken_for_dead(server: SharedServer) -> None:
    async with connected(link_to(server.port, [tag("Double")])) as driver, listening(driver) as heard:
        await heard.until(lambda h: bool(h.values), "the value")
        assert driver._subscriptions is not None
        (subscription,) = driver._subscriptions._active.values()
        for _ in range(3):
            last_s = subscription.heard_s
            await heard.until(lambda _, t=last_s: subscription.heard_s > t, "a sign of life")  # type: ignore[misc]
    assert heard.values == {"double": [1.25]}


async def test_f21_two_nodes_missing_among_a_thousand_cost_those_two_only(server: SharedServer) -> None:
    async with connected(link_to(server.port, counters(1000))) as driver, listening(driver) as heard:
        await heard.until(lambda h: len(h.values) == 1000, "every tag")
        await heard.until(lambda h: len(h.values["counter0"]) > 5, "more changes")
    bad = {name for name, statuses in heard.status.items() if any(statuses)}
    assert bad == {"counter17", "counter500"}
    assert heard.status["counter17"] == [Status.BAD_NODE_ID_UNKNOWN], "once"


async def test_f16_limits_are_obeyed_and_what_the_server_does_not_take_is_polled() -> None:
    """One subscription of at most 25 items is all it grants, five items or seven nodes in one call."""
    limits = {"maxNodesPerRead": 7, "maxMonitoredItemsPerCall": 5}
    grants = {"maxSubscriptionsPerSession": 1, "maxMonitoredItemsPerSubscription": 25}
    tags = [dict(each, period_s=0.05 if n < 30 else 0.1) for n, each in enumerate(counters(40))]
    async with foreign_server(counters=40, limits=limits, capabilities=grants) as server:
        for mode in ("subscribe", "poll"):
            async with connected(link_to(server.port, tags, mode)) as driver, listening(driver) as heard:
                await heard.until(
                    lambda h: all(len(h.values.get(f"counter{n}", ())) > 3 for n in range(40)), "every tag"
                )
                assert [len(group.index) for group in driver.pushed] == ([25] if mode == "subscribe" else [])
                assert [len(group.index) for group in driver.polled] == ([5, 10] if mode == "subscribe" else [30, 10])
            assert not any(any(statuses) for statuses in heard.status.values())


async def test_f15_f17_killed_and_restarted_with_other_namespaces() -> None:
    """The old index then leads to nodes of the same names that say -1."""
    port = free_port()
    by_path = {"name": "deep", "node": f"/[{URI}]Skid/Deep"}
    nowhere = {"name": "nowhere", "node": f"/[{URI}]Skid/Depp"}
    twin = {"name": "twin", "node": f"/[{URI}]Skid/Twin"}
    driver = OpcUaDriver(link_to(port, [*counters(5), by_path, nowhere, twin]), SystemClock())
    try:
        async with foreign_server(port=port) as server:
            await driver.connect()
            async with listening(driver) as heard:
                await heard.until(lambda h: len(h.values) == 8, "every tag")
                await server.process.kill()
                error = await ends(heard, within_s=10)  # the reset says so, timeout_s is 15
        assert isinstance(error, Unavailable)
        assert str(port) in str(error)
        with pytest.raises(Unavailable, match="nothing listens"):
            await driver.connect()
        async with foreign_server(port=port, namespacesFirst=3):
            await driver.connect()
            async with listening(driver) as heard:
                await heard.until(lambda h: len(h.values.get("counter4", ())) > 3, "changes again")
            assert heard.values.pop("deep") == [7.25]
            assert heard.status.pop("nowhere") == [Status.BAD_NODE_ID_UNKNOWN]
            assert heard.status.pop("twin") == [Status.BAD_NODE_ID_UNKNOWN], "nobody can say which one is meant"
            assert not any(any(statuses) for statuses in heard.status.values())
            assert not [values for values in heard.values.values() if -1 in values]
    finally:
        await driver.close()


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_f3_a_frozen_server_is_noticed_and_comes_back(server: SharedServer, mode: str) -> None:
    driver = OpcUaDriver(link_to(server.port, counters(5), mode, timeout_s=3), SystemClock())
    try:
        await driver.connect()
        async with listening(driver) as heard:
            await heard.until(lambda h: len(h.values) == 5, "every tag")
            server.child.send_signal(signal.SIGSTOP)
            error = await ends(heard, within_s=30)  # a probe every 3 s, which has 3 s to be answered
        assert isinstance(error, Unavailable)
        before = time.monotonic()
        await driver.close()
        assert time.monotonic() - before < 10
        server.child.send_signal(signal.SIGCONT)
        await driver.connect()
        async with listening(driver) as heard:
            await heard.until(lambda h: len(h.values.get("counter4", ())) > 3, "changes again")
    finally:
        server.child.send_signal(signal.SIGCONT)
        await driver.close()


@pytest.mark.parametrize(
    ("policy", "mode"),
    [
        ("Basic256Sha256", "Sign"),
        ("Basic256Sha256", "SignAndEncrypt"),
        ("Aes128_Sha256_RsaOaep", "SignAndEncrypt"),
        ("Aes256_Sha256_RsaPss", "SignAndEncrypt"),
    ],
)
async def test_f18_an_unknown_certificate_is_refused_until_a_person_trusts_it(
    server: SharedServer, policy: str, mode: str, tmp_path: Path
) -> None:
    security = {"policy": policy, "mode": mode}
    link = link_to(server.port, counters(3), security=security, pki=tmp_path)
    driver = OpcUaDriver(link, SystemClock())
    try:
        with pytest.raises(
            Refused, match=r"not trusted yet.*thumbprint ([0-9A-F]{40}).*pilot-gateway certs trust \1 --pki "
        ):
            await driver.connect()
        (rejected,) = (tmp_path / "rejected").iterdir()
        shutil.move(rejected, tmp_path / "trusted" / rejected.name)
        await driver.connect()
        async with listening(driver) as heard:
            await heard.until(lambda h: len(h.values.get("counter2", ())) > 3, "changes")
        assert (tmp_path / "own" / "pilot-gateway.key").stat().st_mode & 0o077 == 0
    finally:
        await driver.close()


async def test_f18_a_certificate_for_another_host_is_refused(server: SharedServer, tmp_path: Path) -> None:
    security = {"policy": "Basic256Sha256", "server_name": "plc.example"}
    driver = OpcUaDriver(link_to(server.port, counters(1), security=security, pki=tmp_path), SystemClock())
    (tmp_path / "trusted").mkdir()
    shutil.copy(server.certificate, tmp_path / "trusted")
    with pytest.raises(Refused, match=r"not for plc\.example"):
        await driver.connect()
    await driver.close()


async def test_f18_a_server_of_a_trusted_authority_sends_its_chain(tmp_path: Path) -> None:
    """It needs no person; the authority between comes from the server itself. Revoked, it is refused."""
    plant = Authority("PlantCA")
    line = Authority("LineCA", above=plant)
    server = ServerCertificate(by=line, uri="urn:test:foreign-server")
    chain, private = tmp_path / "chain.pem", tmp_path / "private.pem"
    chain.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in (server.certificate, line.certificate)))
    private.write_bytes(pem(server.key))
    pki = tmp_path / "pki"
    (pki / "trusted").mkdir(parents=True)
    (pki / "trusted" / "plant.der").write_bytes(plant.certificate.public_bytes(Encoding.DER))
    async with foreign_server(certificateFile=str(chain), privateKeyFile=str(private)) as foreign:
        link = link_to(foreign.port, counters(3), security={"policy": "Basic256Sha256"}, pki=pki)
        async with connected(link) as driver, listening(driver) as heard:
            await heard.until(lambda h: len(h.values.get("counter2", ())) > 3, "changes")
        (pki / "issuers" / "crl").mkdir(parents=True)
        (pki / "issuers" / "crl" / "line.crl").write_bytes(line.revoking(server.certificate).public_bytes(Encoding.DER))
        with pytest.raises(Refused, match="the authority LineCA revoked it on"):
            await driver.connect()
        await driver.close()


async def test_a_user_with_a_certificate_is_let_in_where_the_server_knows_it(tmp_path: Path) -> None:
    (tmp_path / "trusted").mkdir()
    known = tmp_path / "server" / "trusted" / "certs"
    known.mkdir(parents=True)
    users = {}
    for name in ("known", "stranger"):
        pki.own(tmp_path / name, name)
        own = tmp_path / name / "own"
        users[name] = {"user_certificate_file": f"{own}/{name}.der", "user_key_file": f"{own}/{name}.key"}
    shutil.copy(users["known"]["user_certificate_file"], known)
    async with foreign_server(counters=1, users=str(tmp_path / "server")) as server:
        shutil.copy(server.certificate, tmp_path / "trusted")
        protected: dict[str, Any] = {"security": {"policy": "Basic256Sha256", "mode": "Sign"}, "pki": tmp_path}
        async with (
            connected(link_to(server.port, counters(1), **protected, **users["known"])) as driver,
            listening(driver) as heard,
        ):
            await heard.until(lambda h: bool(h.values), "a value")
        driver = OpcUaDriver(link_to(server.port, counters(1), **protected, **users["stranger"]), SystemClock())
        with pytest.raises(Refused, match="check username and password, or the certificate of the user"):
            await driver.connect()
        await driver.close()


async def test_a_wrong_password_is_refused_and_the_file_is_read_again(server: SharedServer, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")
    (tmp_path / "trusted").mkdir()
    shutil.copy(server.certificate, tmp_path / "trusted")
    link = link_to(
        server.port,
        counters(1),
        security={"policy": "Basic256Sha256"},
        pki=tmp_path,
        username=USERNAME,
        password_file=str(password),
    )
    driver = OpcUaDriver(link, SystemClock())
    try:
        with pytest.raises(Refused, match="username and password") as caught:
            await driver.connect()
        assert "wrong" not in str(caught.value)
        password.write_text(f"{PASSWORD}\n")
        await driver.connect()
        async with listening(driver) as heard:
            await heard.until(lambda h: bool(h.values), "a value")
    finally:
        await driver.close()
