"""Certificates: the gateway's own one, and which servers it trusts.

::

    pki/
      own/       pilot-gateway.der   certificate of the gateway: what a server has to trust
                 pilot-gateway.key   its key, readable by the gateway alone
      trusted/   certificates of servers (DER or PEM) that a person has checked
      rejected/  certificates of servers that were refused: pilot-gateway certs trust moves one to trusted/

asyncua trusts every server unless told otherwise, so nothing here is left to it: a server's certificate is judged
before the first protected byte is exchanged. Blocking: call in a thread.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drivers.opcua.library import cert_gen
from gateway.core.errors import Refused

DEFAULT_FOLDER = Path("/var/lib/pilot-gateway/pki")
VALID_DAYS = 3650
REJECTED_MOST = 100  # files; a server that shows a new certificate every time must not fill the disk
KEY_BITS_LEAST = 2048  # Basic256Sha256, Part 7


@dataclass(frozen=True, slots=True)
class Own:
    """A certificate with its key, both DER."""

    certificate: bytes
    key: bytes
    uri: str  # application URI, as the certificate says it


def own(folder: Path, application: str = "pilot-gateway") -> Own:
    """The certificate in ``folder``/own, made at the first time. Raises Refused when it cannot be used."""
    place = folder / "own"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with _locked(place):
            return _load_or_make(place, application)
    except OSError as e:
        raise Refused(f"cannot use the certificate folder {place}: {e.strerror}; check pki and its permissions") from e
    except (ValueError, TypeError, x509.ExtensionNotFound) as e:
        raise Refused(f"{place} holds a damaged certificate or key ({e}); remove both files for new ones") from e


def _load_or_make(place: Path, application: str) -> Own:
    certificate_file, key_file = place / f"{application}.der", place / f"{application}.key"
    if not (certificate_file.exists() and key_file.exists()):
        _make(certificate_file, key_file, application)
    certificate = x509.load_der_x509_certificate(certificate_file.read_bytes())
    key = load_pem_private_key(key_file.read_bytes(), password=None)
    uris = _names(certificate).get_values_for_type(x509.UniformResourceIdentifier)
    return Own(
        certificate.public_bytes(Encoding.DER),
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        uris[0],
    )


def _make(certificate_file: Path, key_file: Path, application: str) -> None:
    host = socket.gethostname()
    uri = f"urn:{host}:{application}"
    hosts = dict.fromkeys((host, "localhost"))
    key = cert_gen.generate_private_key()
    certificate = cert_gen.generate_self_signed_app_certificate(
        key,
        application,
        {"organizationName": "Pilot Gateway"},
        [
            x509.UniformResourceIdentifier(uri),
            *map(x509.DNSName, hosts),
            x509.IPAddress(ip_address("127.0.0.1")),
        ],
        extended=[ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
        days=VALID_DAYS,
    )
    _write(key_file, cert_gen.dump_private_key_as_pem(key), 0o600)
    _write(certificate_file, certificate.public_bytes(Encoding.DER), 0o644)


def check_server(
    folder: Path, certificate: bytes, *, host: str, application_uri: str, now: datetime | None = None
) -> None:
    """Return when this server may be talked to; raise Refused, with everything that is wrong and what to do.

    A refused certificate is put in ``folder``/rejected.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate)
    except ValueError as e:
        raise Refused(f"the server shows a certificate that cannot be read ({e})") from e
    thumbprint = thumbprint_of(parsed)
    reasons = judge(parsed, host, application_uri, now or datetime.now(UTC))
    trusted = is_trusted(folder, certificate)
    if trusted and not reasons:
        return
    _reject(folder, parsed)
    if not trusted:
        where = "" if folder == DEFAULT_FOLDER else f" --pki {shlex.quote(str(folder))}"
        todo = (
            "compare the thumbprint with the one that the server itself shows; if it is the same: "
            f"pilot-gateway certs trust {thumbprint}{where}"
        )
        reasons.insert(0, "it is not trusted yet")
    else:
        todo = "give the server a new certificate"
    raise Refused(
        f"the server's certificate is refused: {'; '.join(reasons)} ({_common_name(parsed)}, thumbprint {thumbprint}). "
        f"What to do: {todo}"
    )


def judge(certificate: x509.Certificate, host: str, application_uri: str, now: datetime) -> list[str]:
    """Everything that is wrong with a server's certificate by itself, as clauses; pure."""
    wrong = []
    if now > certificate.not_valid_after_utc:
        wrong.append(f"it expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if now < certificate.not_valid_before_utc:
        wrong.append(
            f"it is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on only (check the clocks)"
        )
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < KEY_BITS_LEAST:
        wrong.append(f"its key is weaker than RSA with {KEY_BITS_LEAST} bits")
    try:
        names = _names(certificate)
    except x509.ExtensionNotFound:
        return [*wrong, "it names neither an application nor a host"]
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if application_uri not in uris:
        wrong.append(f"it is for the application {', '.join(uris) or '(none)'}, the server says {application_uri}")
    hosts = [
        *(name.lower() for name in names.get_values_for_type(x509.DNSName)),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]
    if host.lower() not in hosts:
        wrong.append(f"it is for {', '.join(hosts) or 'no host'}, not for {host} (see security.server_name)")
    return wrong


def is_trusted(folder: Path, certificate: bytes) -> bool:
    """Whether exactly this certificate (DER) lies in ``folder``/trusted."""
    place = folder / "trusted"
    place.mkdir(parents=True, exist_ok=True)
    return any(_der(file) == certificate for file in sorted(place.iterdir()) if file.is_file())


def thumbprint_of(certificate: x509.Certificate) -> str:
    """The SHA-1 thumbprint that OPC UA tools show; for people to compare, trust itself compares every byte."""
    return certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303


# --------------------------------------------------------------------------------------------------- for people


@dataclass(frozen=True, slots=True)
class Stored:
    """One certificate in the folder."""

    place: str  # own, trusted or rejected
    file: Path
    certificate: x509.Certificate

    @property
    def thumbprint(self) -> str:
        """40 hexadecimal digits."""
        return thumbprint_of(self.certificate)

    @property
    def name(self) -> str:
        """What it is called, fit for a terminal."""
        return _common_name(self.certificate)


def stored(folder: Path) -> list[Stored]:
    """Every certificate in the folder, place by place; what is none is left out."""
    found = []
    for place in ("own", "trusted", "rejected"):
        files = sorted((folder / place).iterdir()) if (folder / place).is_dir() else []
        for file in files:
            if not file.is_file() or file.name.startswith(".") or file.suffix in (".key", ".old"):
                continue
            with suppress(ValueError):
                found.append(Stored(place, file, x509.load_der_x509_certificate(_der(file) or b"")))
    return found


def move(folder: Path, which: Stored, place: str) -> Path:
    """Put a certificate into ``trusted`` or ``rejected``, out of wherever else it is."""
    file = folder / place / which.file.name
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, which.certificate.public_bytes(Encoding.DER), 0o644)
    for other in stored(folder):
        if other.file != file and other.place != "own" and other.certificate == which.certificate:
            other.file.unlink(missing_ok=True)
    return file


def renew(folder: Path, application: str = "pilot-gateway") -> Path:
    """Make a new own certificate and key; the former ones get the ending ``.old``."""
    place = folder / "own"
    place.mkdir(parents=True, exist_ok=True)
    certificate_file, key_file = place / f"{application}.der", place / f"{application}.key"
    with _locked(place):
        for file in (certificate_file, key_file):
            if file.exists():
                file.replace(file.with_name(f"{file.name}.old"))
        _make(certificate_file, key_file, application)
    return certificate_file


def names_of(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    """The application URIs and the hosts that a certificate is for."""
    try:
        names = _names(certificate)
    except (x509.ExtensionNotFound, ValueError):
        return [], []
    hosts = [
        *(name.lower() for name in names.get_values_for_type(x509.DNSName)),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]
    return names.get_values_for_type(x509.UniformResourceIdentifier), hosts


# ------------------------------------------------------------------------------------------------------ helpers


def _der(file: Path) -> bytes | None:
    content = file.read_bytes()
    if content.startswith(b"-----BEGIN"):
        with suppress(ValueError):
            return x509.load_pem_x509_certificate(content).public_bytes(Encoding.DER)
        return None
    return content


def _reject(folder: Path, certificate: x509.Certificate) -> Path:
    place = folder / "rejected"
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{_common_name(certificate)}-{thumbprint_of(certificate)}.der"
    if not file.exists():
        older = sorted(place.iterdir(), key=lambda kept: kept.stat().st_mtime_ns)
        for kept in older[: max(0, len(older) - REJECTED_MOST + 1)]:
            kept.unlink(missing_ok=True)
        _write(file, certificate.public_bytes(Encoding.DER), 0o644)
    return file


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def _common_name(certificate: x509.Certificate) -> str:
    """Fit for logs and file names, whatever a stranger wrote into it."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", str(names[0].value) if names else "server")[:64]


def _write(file: Path, content: bytes, mode: int) -> None:
    """All of it or nothing, and never readable by more than ``mode`` says."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(descriptor)
    draft.replace(file)


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """One maker at a time: links connect at once, and each would make its own key."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
