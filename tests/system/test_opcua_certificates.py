"""F18: every certificate a server can be wrong with, shown by a running server, refused for its reason.

One table. Each row is connected to twice: as the folder is, and after a person did what the refusal says, or, where it
says that no command helps, after trusting the certificate nevertheless.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.library import ua
from drivers.opcua.pki import own as own_certificate
from drivers.opcua.trust import thumbprint_of
from gateway.cli import main
from gateway.core.clock import SystemClock
from gateway.core.errors import Refused
from gateway.core.model import Link
from tests.support.opcua_certificates import CLIENT, DAY, NOW, URI, Authority, ServerCertificate, pem
from tests.support.opcua_lines import PLANT, make_link
from tests.support.opcua_listening import listening
from tests.support.opcua_simulator import QuickSimulator

pytestmark = pytest.mark.system

TAGS = {"reactor": [{"name": "pressure", "node": f"nsu={PLANT};s=Pressure"}]}
PLANT_CA = Authority("PlantCA")
LINE_CA = Authority("LineCA", above=PLANT_CA)
IMPOSTOR = Authority("PlantCA", key_name="impostor")
OLD_CA = Authority("OldCA", end=NOW - DAY)
WEAK_CA = Authority("WeakCA", bits=1024)
NARROW_CA = Authority("NarrowCA", path_length=0)
BELOW_NARROW = Authority("BelowCA", above=NARROW_CA)
PLAIN = ServerCertificate()
OTHER_KEY = ServerCertificate(key_name="other")
COLLEAGUE = ServerCertificate(name="Colleague", key_name="colleague", uri="urn:test:colleague", ca=True)
REVOKED = ServerCertificate(by=PLANT_CA)
TAKEN_BACK = Authority("TakenBackCA", above=PLANT_CA)


@dataclass(frozen=True)
class Case:
    """What the server shows, what the folder holds, what the refusal says (empty: there is none) and advises."""

    shows: ServerCertificate
    says: str = ""
    helps: str = "certs trust"
    trusted: Sequence[x509.Certificate] = ()
    issuers: Sequence[x509.Certificate] = ()
    lists: Sequence[x509.CertificateRevocationList] = ()
    chain: Sequence[x509.Certificate] = ()  # what the server sends behind its own certificate
    link: tuple[tuple[str, str], ...] = ()  # more of security

    @property
    def leaf(self) -> x509.Certificate:
        return self.shows.certificate


def own(certificate: ServerCertificate, says: str, helps: str, **link: str) -> Case:
    """A certificate that is trusted, and wrong nevertheless."""
    return Case(certificate, says, helps, trusted=(certificate.certificate,), link=tuple(link.items()))


def by(authority: Authority, says: str = "", helps: str = "certs trust", **more: Any) -> Case:
    """A right certificate of an authority, which is trusted."""
    return Case(ServerCertificate(by=authority), says, helps, **{"trusted": (authority.certificate,), **more})


NEW = "give the server a new certificate"
CASES = {
    "stranger": Case(PLAIN, "it is not trusted yet"),
    "expired": own(ServerCertificate(end=NOW - DAY / 2), r"it expired on 20\d\d-", NEW),
    "not yet valid": own(
        ServerCertificate(begin=NOW + DAY, end=NOW + 2 * DAY), r"it is valid from 20\d\d-.* UTC on only", "the clocks"
    ),
    "wrong application": own(
        ServerCertificate(uri="urn:other"), f"it is for the application urn:other, the server says {URI}", NEW
    ),
    "wrong host": own(
        ServerCertificate(hosts=("plc.example",)),
        r"it is for plc\.example, not for 127\.0\.0\.1",
        "security.server_name",
    ),
    "no host": own(ServerCertificate(hosts=()), r"it is for no host, not for 127\.0\.0\.1", "security.server_name"),
    "weak key": own(ServerCertificate(bits=1024), "its key is weaker than RSA with 2048 bits", NEW),
    "not for servers": own(ServerCertificate(usage=(CLIENT,)), "it is not for servers", NEW),
    "changed key": Case(
        OTHER_KEY,
        f"another key than the one that is trusted .* {thumbprint_of(PLAIN.certificate)}",
        trusted=(PLAIN.certificate,),
    ),
    "unknown authority": by(PLANT_CA, "nothing is known here of the authority PlantCA", trusted=()),
    "authority not trusted": by(PLANT_CA, "nor is the authority PlantCA", trusted=(), issuers=(PLANT_CA.certificate,)),
    "authority sent along": by(PLANT_CA, "nor is the authority PlantCA", trusted=(), chain=(PLANT_CA.certificate,)),
    "impostor of an authority": by(
        IMPOSTOR, "it was not signed by the authority PlantCA that it names", NEW, trusted=(PLANT_CA.certificate,)
    ),
    "signed by a trusted server": Case(
        ServerCertificate(by=Authority("Colleague", key_name="colleague")),
        "nothing is known here of the authority Colleague",
        trusted=(COLLEAGUE.certificate,),
    ),
    "revoked": Case(
        REVOKED,
        r"the authority PlantCA revoked it on 20\d\d-",
        "why it took this one back",
        trusted=(PLANT_CA.certificate,),
        lists=(PLANT_CA.revoking(REVOKED.certificate),),
    ),
    "authority revoked": by(
        TAKEN_BACK,
        "the authority PlantCA revoked the authority TakenBackCA",
        "why it took this one back",
        trusted=(PLANT_CA.certificate,),
        issuers=(TAKEN_BACK.certificate,),
        lists=(PLANT_CA.revoking(TAKEN_BACK.certificate),),
    ),
    "authority expired": by(OLD_CA, "the certificate of the authority OldCA expired"),
    "authority with a weak key": by(WEAK_CA, "the key of the authority WeakCA is weaker"),
    "weak signature": Case(
        ServerCertificate(by=PLANT_CA, weakly=True),
        "PlantCA signed it with less than SHA-256",
        trusted=(PLANT_CA.certificate,),
    ),
    "too many authorities": by(
        BELOW_NARROW,
        "NarrowCA may not have 1 authorities below it",
        trusted=(NARROW_CA.certificate,),
        issuers=(BELOW_NARROW.certificate,),
    ),
    "right: itself": Case(PLAIN, trusted=(PLAIN.certificate,)),
    "right: by authority": by(PLANT_CA, lists=(PLANT_CA.revoking(),)),
    "right: by authority, list out of date": by(PLANT_CA, lists=(PLANT_CA.revoking(until=NOW - DAY),)),
    "right: by known line under trusted plant": by(
        LINE_CA, trusted=(PLANT_CA.certificate,), issuers=(LINE_CA.certificate,)
    ),
    "right: by line that the server sends": by(LINE_CA, trusted=(PLANT_CA.certificate,), chain=(LINE_CA.certificate,)),
    "right: named otherwise": own(ServerCertificate(hosts=("plc.example",)), "", "", server_name="plc.example"),
}


class Showing(QuickSimulator):
    """A simulator with the certificate of a case."""

    def __init__(self, link: Link, case: Case) -> None:
        super().__init__(link)
        self._case = case

    async def _protect(self, server: Any) -> None:
        await server.load_certificate(self._case.shows.der)
        await server.load_private_key(pem(self._case.shows.key), format="pem")
        await server.set_application_uri(URI)
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])

    async def start(self) -> None:
        await super().start()
        for endpoint in self._server.iserver.endpoints:
            endpoint.ServerCertificate = b"".join(
                [self._case.shows.der, *(each.public_bytes(Encoding.DER) for each in self._case.chain)]
            )


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gateway's own certificate, made once: it takes a while."""
    folder = tmp_path_factory.mktemp("ours")
    own_certificate(folder)
    return folder


def prepare(pki: Path, case: Case, ours: Path) -> None:
    shutil.copytree(ours, pki)
    places: tuple[tuple[str, Sequence[Any]], ...] = (
        ("trusted", case.trusted),
        ("issuers/certs", case.issuers),
        ("issuers/crl", case.lists),
    )
    for place, held in places:
        (pki / place).mkdir(parents=True)
        for n, each in enumerate(held):
            (pki / place / f"{n}.der").write_bytes(each.public_bytes(Encoding.DER))


@asynccontextmanager
async def shown(case: Case, pki: Path) -> AsyncIterator[OpcUaDriver]:
    """A driver of the link to a server that shows the certificate of the case."""
    security = {"policy": "Basic256Sha256", **dict(case.link)}
    simulator = Showing(make_link(0, TAGS, security=security, pki=pki), case)
    await simulator.start()
    driver = OpcUaDriver(make_link(simulator.port, TAGS, security=security, pki=pki), SystemClock())
    try:
        yield driver
    finally:
        await driver.close()
        await simulator.close()


async def has_values(driver: OpcUaDriver) -> bool:
    await driver.connect()
    async with listening(driver) as heard:
        await heard.until_newest("pressure", 0.0)
    return True


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["certs", *arguments])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.says])
async def test_f18_refused_for_its_reason(name: str, ours: Path, tmp_path: Path) -> None:
    case, pki = CASES[name], tmp_path / "pki"
    prepare(pki, case, ours)
    thumbprint = thumbprint_of(case.leaf)
    async with shown(case, pki) as driver:
        with pytest.raises(Refused, match=case.says) as caught:
            await driver.connect()
        said = str(caught.value)
        assert f"thumbprint {thumbprint}" in said
        assert re.search(rf"What to do: .*{case.helps}", said), said
        (rejected,) = (pki / "rejected").iterdir()
        assert rejected.read_bytes() == case.shows.der
        command = re.search(r"pilot-gateway certs (trust .*)$", said)
        assert bool(command) == (case.helps == "certs trust"), said
        assert run(*(shlex.split(command[1]) if command else ("trust", thumbprint, "--pki", str(pki)))) == 0
        if command:
            assert await has_values(driver)
        else:
            with pytest.raises(Refused, match=case.says):
                await driver.connect()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.says])
async def test_f18_what_is_right_is_talked_to(
    name: str, ours: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case, pki = CASES[name], tmp_path / "pki"
    prepare(pki, case, ours)
    async with shown(case, pki) as driver:
        assert await has_values(driver)
    assert not (pki / "rejected").exists()
    assert ("PlantCA is out of date since" in caplog.text) == ("out of date" in name)
