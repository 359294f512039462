"""Certificates: the gateway's own one, and which servers it trusts.

::

    pki/
      own/       pilot-gateway.der   certificate of the gateway: what a server has to trust
                 pilot-gateway.key   its key, readable by the gateway alone
      trusted/   certificates (DER or PEM) of servers, and of authorities, that a person has checked
      issuers/   certs/ authorities that only complete the chain to a trusted one, crl/ lists of what they revoked
      rejected/  certificates of servers that were refused: pilot-gateway certs trust moves one to trusted/

asyncua trusts every server unless told otherwise, so nothing here is left to it: a server's certificate is judged (by
``trust``) before the first protected byte is exchanged. Blocking: call in a thread.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from drivers.opcua import trust
from drivers.opcua.library import cert_gen
from drivers.opcua.trust import thumbprint_of
from gateway.core.errors import Refused

DEFAULT_FOLDER = Path("/var/lib/pilot-gateway/pki")
VALID_DAYS = 3650
REJECTED_MOST = 100  # files; a server that shows a new certificate every time must not fill the disk

log = logging.getLogger(__name__)


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
    except (ValueError, TypeError) as e:
        raise Refused(f"{place} holds a damaged certificate or key ({e}); remove both files for new ones") from e


def _load_or_make(place: Path, application: str) -> Own:
    certificate_file, key_file = place / f"{application}.der", place / f"{application}.key"
    if not (certificate_file.exists() and key_file.exists()):
        _make(certificate_file, key_file, application)
    certificate = x509.load_der_x509_certificate(certificate_file.read_bytes())
    key = load_pem_private_key(key_file.read_bytes(), password=None)
    uris, _ = trust.names_of(certificate)
    if not uris:
        raise ValueError("it names no application")
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


def check_server(folder: Path, chain: bytes, *, host: str, application_uri: str, now: datetime | None = None) -> None:
    """Return when this server may be talked to; raise Refused, with everything that is wrong and what to do.

    ``chain``: its certificate and those of authorities behind it, DER. One that is refused goes into
    ``folder``/rejected.
    """
    try:
        leaf, *sent = map(x509.load_der_x509_certificate, trust.split(chain) or [b""])
        verdict = trust.judge(
            leaf, sent, known(folder), host=host, application_uri=application_uri, now=now or datetime.now(UTC)
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:  # what cryptography raises at what it does not know
        raise Refused(f"the server shows a certificate that cannot be read ({trust.fit(str(e))}); {trust.NEW}") from e
    except OSError as e:
        raise Refused(f"cannot use the certificate folder {folder}: {e.strerror}; check pki and its permissions") from e
    for note in verdict.notes:
        log.warning("%s", note)
    if verdict.good:
        return
    _reject(folder, leaf)
    reasons = [flaw.says for flaw in verdict.flaws]
    if not verdict.trusted:
        reasons.insert(0, verdict.stranger)
    raise Refused(
        f"the server's certificate is refused: {'; '.join(reasons)} ({trust.common_name(leaf.subject)}, "
        f"thumbprint {thumbprint_of(leaf)}). What to do: {_remedy(folder, leaf, verdict)}",
        slow=False,
    )


def _remedy(folder: Path, leaf: x509.Certificate, verdict: trust.Verdict) -> str:
    """The one command that would trust it, or why none would."""
    helps = "; ".join(dict.fromkeys(flaw.helps for flaw in verdict.flaws))
    if not all(flaw.of_chain for flaw in verdict.flaws):
        return helps if verdict.trusted else f"{helps} (to trust this one would not be enough)"
    where = "" if folder == DEFAULT_FOLDER else f" --pki {shlex.quote(str(folder))}"
    alone = f"{helps}; or, to trust this server alone, " if helps else ""
    return (
        f"{alone}compare the thumbprint with the one that the server itself shows; if it is the same: "
        f"pilot-gateway certs trust {thumbprint_of(leaf)}{where}"
    )


def known(folder: Path) -> trust.Known:
    """What the folder says about whom to trust; files that hold nothing of the kind are left out."""
    (folder / "trusted").mkdir(parents=True, exist_ok=True)
    return trust.Known(
        tuple(each for file in _files(folder / "trusted") for each in _certificates(file)),
        tuple(each for file in _files(folder / "issuers" / "certs") for each in _certificates(file)),
        tuple(each for file in _files(folder / "issuers" / "crl") for each in _lists(file)),
    )


# --------------------------------------------------------------------------------------------------- for people


@dataclass(frozen=True, slots=True)
class Stored:
    """One certificate in the folder."""

    place: str  # own, trusted, issuers or rejected
    file: Path
    certificate: x509.Certificate

    @property
    def thumbprint(self) -> str:
        """40 hexadecimal digits."""
        return thumbprint_of(self.certificate)

    @property
    def name(self) -> str:
        """What it is called, fit for a terminal."""
        return trust.common_name(self.certificate.subject)


def stored(folder: Path) -> list[Stored]:
    """Every certificate in the folder, place by place; what is none is left out."""
    return [
        Stored(place, file, certificate)
        for place, where in _PLACES.items()
        for file in _files(folder / where)
        if file.suffix not in (".key", ".old")
        for certificate in _certificates(file)
    ]


def lists(folder: Path) -> list[tuple[Path, x509.CertificateRevocationList]]:
    """Every revocation list in the folder."""
    return [(file, each) for file in _files(folder / "issuers" / "crl") for each in _lists(file)]


def add(folder: Path, file: Path) -> list[Path]:
    """Copy what ``file`` holds to where it belongs: certificates are trusted, revocation lists go to their place.

    Gives the new files: none where it holds neither. Raises OSError.
    """
    made = [_keep(folder / "trusted", certificate) for certificate in _certificates(file)]
    for revocations in _lists(file):
        place = folder / "issuers" / "crl"
        place.mkdir(parents=True, exist_ok=True)
        made.append(place / f"{trust.common_name(revocations.issuer)}-{_digest(revocations.issuer)}.crl")
        _write(made[-1], revocations.public_bytes(Encoding.DER), 0o644)
    return made


def move(folder: Path, which: Stored, place: str) -> Path:
    """Put a certificate into ``trusted`` or ``rejected``, out of wherever else it is."""
    file = _keep(folder / place, which.certificate)
    for other in stored(folder):
        if other.file != file and other.place != "own" and other.certificate == which.certificate:
            _take_out(other.file, which.certificate)
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


# ------------------------------------------------------------------------------------------------------ helpers


_PLACES = {"own": "own", "trusted": "trusted", "issuers": "issuers/certs", "rejected": "rejected"}


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(file for file in place.iterdir() if file.is_file() and not file.name.startswith("."))


def _certificates(file: Path) -> list[x509.Certificate]:
    content = file.read_bytes()
    with suppress(ValueError):
        if b"-----BEGIN" in content:
            return x509.load_pem_x509_certificates(content)
        return [x509.load_der_x509_certificate(content)]
    return []


def _lists(file: Path) -> list[x509.CertificateRevocationList]:
    content = file.read_bytes()
    with suppress(ValueError):
        if b"-----BEGIN" in content:
            return [x509.load_pem_x509_crl(content)]
        return [x509.load_der_x509_crl(content)]
    return []


def _reject(folder: Path, certificate: x509.Certificate) -> None:
    place = folder / "rejected"
    place.mkdir(parents=True, exist_ok=True)
    if _place_of(place, certificate).exists():
        return
    older = sorted(place.iterdir(), key=lambda kept: kept.stat().st_mtime_ns)
    for kept in older[: max(0, len(older) - REJECTED_MOST + 1)]:
        kept.unlink(missing_ok=True)
    _keep(place, certificate)


def _keep(place: Path, certificate: x509.Certificate) -> Path:
    file = _place_of(place, certificate)
    place.mkdir(parents=True, exist_ok=True)
    _write(file, certificate.public_bytes(Encoding.DER), 0o644)
    return file


def _take_out(file: Path, certificate: x509.Certificate) -> None:
    rest = [each for each in _certificates(file) if each != certificate]
    if rest:  # it was one of a bundle
        _write(file, b"".join(each.public_bytes(Encoding.PEM) for each in rest), 0o644)
    else:
        file.unlink(missing_ok=True)


def _place_of(place: Path, certificate: x509.Certificate) -> Path:
    return place / f"{trust.common_name(certificate.subject)}-{thumbprint_of(certificate)}.der"


def _digest(name: x509.Name) -> str:
    return hashlib.sha256(name.public_bytes()).hexdigest()[:16]


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
