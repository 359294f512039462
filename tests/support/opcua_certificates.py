"""Certificates as servers and authorities have them, right or wrong in any one thing. Keys are made once per run."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

URI = "urn:test:certified"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@functools.cache
def key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The key of that name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def pem(private: rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Authority:
    """Signs certificates; ``key_name`` is ``name`` unless it is an impostor of the same name."""

    name: str
    key_name: str = ""
    above: Authority | None = None
    begin: datetime = NOW - 30 * DAY
    end: datetime = NOW + 30 * DAY
    bits: int = 2048
    path_length: int | None = None
    ca: bool = True

    @property
    def key(self) -> rsa.RSAPrivateKey:
        return key(self.key_name or self.name, self.bits)

    @functools.cached_property
    def certificate(self) -> x509.Certificate:
        signer = self.above or self
        return (
            x509.CertificateBuilder()
            .subject_name(_name(self.name))
            .issuer_name(_name(signer.name))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begin)
            .not_valid_after(self.end)
            .add_extension(x509.BasicConstraints(self.ca, self.path_length), critical=True)
            .sign(signer.key, hashes.SHA256())
        )

    def revoking(self, *certificates: x509.Certificate, until: datetime = NOW + DAY) -> x509.CertificateRevocationList:
        """The list of what it has taken back."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(_name(self.name))
        builder = builder.last_update(NOW - 9 * DAY).next_update(until)
        for certificate in certificates:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW - 9 * DAY).build())
        return builder.sign(self.key, hashes.SHA256())


@dataclass(frozen=True)
class ServerCertificate:
    """A server's certificate, right unless told otherwise."""

    by: Authority | None = None  # None: signed by itself
    uri: str = URI
    hosts: Sequence[str] = ("localhost", "127.0.0.1")
    begin: datetime = NOW - DAY
    end: datetime = NOW + DAY
    name: str = "PLC"
    key_name: str = "server"
    bits: int = 2048
    usage: Sequence[ObjectIdentifier] = (SERVER, CLIENT)
    ca: bool = False
    weakly: bool = False  # signed with SHA-224

    @property
    def key(self) -> rsa.RSAPrivateKey:
        return key(self.key_name, self.bits)

    @functools.cached_property
    def certificate(self) -> x509.Certificate:
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(self.uri)]
        for host in self.hosts:
            numeric = host.replace(".", "").isdigit()
            names.append(x509.IPAddress(ip_address(host)) if numeric else x509.DNSName(host))
        return (
            x509.CertificateBuilder()
            .subject_name(_name(self.name))
            .issuer_name(_name(self.by.name if self.by else self.name))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begin)
            .not_valid_after(self.end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(self.usage), critical=False)
            .add_extension(x509.BasicConstraints(self.ca, None), critical=True)
            .sign(self.by.key if self.by else self.key, hashes.SHA224() if self.weakly else hashes.SHA256())
        )

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)
