from __future__ import annotations

import random
import re
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from warnings import catch_warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from drivers.opcua import pki
from drivers.opcua.trust import thumbprint_of
from gateway.core.errors import Refused
from tests.support.opcua_certificates import Authority, ServerCertificate

NOW = datetime(2026, 6, 1, tzinfo=UTC)
URI = "urn:plc"
PLAIN = ServerCertificate()
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class Made:
    """A server's certificate, right unless told otherwise."""

    uri: str = URI
    hosts: Sequence[str] = ("plc.local",)
    begin: datetime = NOW - timedelta(days=1)
    end: datetime = NOW + timedelta(days=1)
    name: str = "PLC"

    def certificate(self, key: rsa.RSAPrivateKey = KEY) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        names = [
            x509.UniformResourceIdentifier(self.uri),
            *map(x509.DNSName, self.hosts),
            x509.IPAddress(ip_address("10.0.0.5")),
        ]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(7)
            .not_valid_before(self.begin)
            .not_valid_after(self.end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key, hashes.SHA256())
        )


def check(folder: Path, made: Made, host: str = "plc.local") -> None:
    der = made.certificate().public_bytes(Encoding.DER)
    pki.check_server(folder, der, host=host, application_uri=URI, now=NOW)


def trust_all(folder: Path) -> None:
    for file in (folder / "rejected").iterdir():
        shutil.move(file, folder / "trusted" / file.name)


def test_f18_refused_until_a_person_moves_the_file(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        check(tmp_path, Made())
    thumbprint = thumbprint_of(Made().certificate())
    for part in ("not trusted yet", f"pilot-gateway certs trust {thumbprint} --pki {tmp_path}"):
        assert part in str(caught.value)
    trust_all(tmp_path)
    check(tmp_path, Made())
    check(tmp_path, Made(), host="PLC.local")
    check(tmp_path, Made(), host="10.0.0.5")


def test_pem_files_are_understood_and_junk_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "readme.txt").write_text("-----BEGIN nothing")
    (tmp_path / "trusted" / "plc.pem").write_bytes(Made().certificate().public_bytes(Encoding.PEM))
    check(tmp_path, Made())


@pytest.mark.parametrize(
    ("made", "host", "says"),
    [
        (Made(end=NOW - timedelta(seconds=1)), "plc.local", "expired on 2026-05-31"),
        (Made(begin=NOW + timedelta(hours=1), end=NOW + timedelta(days=2)), "plc.local", "valid from 2026-06-01 01:00"),
        (Made(uri="urn:other"), "plc.local", "for the application urn:other, the server says urn:plc"),
        (Made(), "evil.local", "not for evil.local"),
        (Made(hosts=()), "plc.local", "not for plc.local"),
    ],
)
def test_f18_trusted_but_wrong_is_still_refused(tmp_path: Path, made: Made, host: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        check(tmp_path, made, host)
    trust_all(tmp_path)
    with pytest.raises(Refused, match=says) as caught:
        check(tmp_path, made, host)
    assert "not trusted" not in str(caught.value)


def test_f18_a_changed_certificate_is_a_stranger(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        check(tmp_path, Made())
    trust_all(tmp_path)
    with pytest.raises(Refused, match="not trusted yet"):
        check(tmp_path, Made(end=NOW + timedelta(days=9)))


def test_a_weak_signature_of_its_own_is_no_harm(tmp_path: Path) -> None:
    """Old instruments sign themselves with SHA-1; what a person has compared needs no signature."""
    der = PLAIN.der.replace(bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105"))
    assert der != PLAIN.der
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "old.der").write_bytes(der)
    pki.check_server(tmp_path, der, host="localhost", application_uri=PLAIN.uri)


def test_a_signature_that_does_not_fit_is_told(tmp_path: Path) -> None:
    der = PLAIN.der[:-1] + bytes([PLAIN.der[-1] ^ 1])
    with pytest.raises(Refused, match="the signature of it is wrong"):
        pki.check_server(tmp_path, der, host="localhost", application_uri=PLAIN.uri)


def test_a_bundle_of_authorities_is_read_and_taken_apart(tmp_path: Path) -> None:
    plant, other = Authority("PlantCA"), Authority("OtherCA")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"".join(each.certificate.public_bytes(Encoding.PEM) for each in (plant, other)))
    (tmp_path / "trusted").mkdir()
    shutil.copy(bundle, tmp_path / "trusted")
    server = ServerCertificate(by=plant)
    pki.check_server(tmp_path, server.der, host="localhost", application_uri=server.uri)
    (mine,) = (each for each in pki.stored(tmp_path) if each.name == "PlantCA")
    pki.move(tmp_path, mine, "rejected")
    assert sorted((each.place, each.name) for each in pki.stored(tmp_path)) == [
        ("rejected", "PlantCA"),
        ("trusted", "OtherCA"),
    ]
    with pytest.raises(Refused, match="nothing is known here of the authority PlantCA"):
        pki.check_server(tmp_path, server.der, host="localhost", application_uri=server.uri)


def test_a_list_without_its_authority_is_believed(tmp_path: Path) -> None:
    """The server is trusted by itself, the authority's certificate was never copied here."""
    plant = Authority("PlantCA")
    server = ServerCertificate(by=plant)
    crl = tmp_path / "plant.crl"
    crl.write_bytes(plant.revoking(server.certificate).public_bytes(Encoding.PEM))
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "plc.der").write_bytes(server.der)
    pki.check_server(tmp_path, server.der, host="localhost", application_uri=server.uri)
    (made,) = pki.add(tmp_path, crl)
    assert made.parent == tmp_path / "issuers" / "crl"
    with pytest.raises(Refused, match="the authority PlantCA revoked it on"):
        pki.check_server(tmp_path, server.der, host="localhost", application_uri=server.uri)


def test_a_list_of_another_authority_of_the_same_name_counts_for_nothing(tmp_path: Path) -> None:
    plant, impostor = Authority("PlantCA"), Authority("PlantCA", key_name="impostor")
    server = ServerCertificate(by=plant)
    for name, held in (("plant.pem", plant.certificate), ("impostor.crl", impostor.revoking(server.certificate))):
        (tmp_path / name).write_bytes(held.public_bytes(Encoding.PEM))
        pki.add(tmp_path, tmp_path / name)
    pki.check_server(tmp_path, server.der, host="localhost", application_uri=server.uri)


def test_changed_bytes_end_in_a_refusal_and_nothing_else(tmp_path: Path) -> None:
    """A server may show anything; only a Refused keeps the link going."""
    dice = random.Random(7)
    whole = ServerCertificate(by=Authority("PlantCA")).der + Authority("PlantCA").certificate.public_bytes(Encoding.DER)
    with catch_warnings(action="ignore"):  # cryptography's, of odd numbers
        for _ in range(400):
            chain = bytearray(whole)
            for _ in range(dice.randint(1, 3)):
                chain[dice.randrange(len(chain))] = dice.randrange(256)
            with pytest.raises(Refused):
                pki.check_server(
                    tmp_path, bytes(chain[: dice.choice((None, 50, 700))]), host="localhost", application_uri="urn:any"
                )


def test_bytes_that_are_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        pki.check_server(tmp_path, b"junk", host="plc", application_uri=URI, now=NOW)


def test_a_name_cannot_leave_the_folder_nor_fill_it(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        check(tmp_path, Made(name="../../etc/\x1b[31mpasswd"))
    (file,) = (tmp_path / "rejected").iterdir()
    assert re.fullmatch(r"[A-Za-z0-9._-]+", file.name)
    assert "\x1b" not in str(caught.value)
    for day in range(pki.REJECTED_MOST + 5):
        with pytest.raises(Refused):
            check(tmp_path, Made(end=NOW + timedelta(days=2 + day)))
    assert len(list((tmp_path / "rejected").iterdir())) <= pki.REJECTED_MOST


def test_the_own_certificate_is_made_once_for_everyone(tmp_path: Path) -> None:
    made: list[pki.Own] = []
    threads = [threading.Thread(target=lambda: made.append(pki.own(tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert pki.own(tmp_path) == made[0]
    certificate = x509.load_der_x509_certificate(made[0].certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [made[0].uri]
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert (tmp_path / "own" / "pilot-gateway.key").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_used_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="check pki"):
        pki.own(Path("/proc/nowhere"))
    pki.own(tmp_path)
    (tmp_path / "own" / "pilot-gateway.key").write_text("damaged")
    with pytest.raises(Refused, match="remove both files"):
        pki.own(tmp_path)
