"""Whether a server's certificate is good enough to talk to it. Pure: no folder, no socket, the time is handed in.

In: the certificate with whatever chain the server sent along, and what a person has put into the folder. Out: a
Verdict: who is trusted, everything that is wrong, and for each what helps. ``pki`` reads the folder and says it.

A server is trusted when its certificate, or an authority above it, is one that a person has trusted; the chain between
them is made of known authorities and of what the server sent (Part 4, 6.1.3). An authority is a certificate that is for
signing others and for no application: a trusted server can vouch for nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEY_BITS_LEAST = 2048  # Basic256Sha256, Part 7
DIGEST_BYTES_LEAST = 32  # SHA-256
CHAIN_MOST = 8  # certificates from the server up to its root

Extension = TypeVar("Extension", bound=x509.ExtensionType)

NEW = "give the server a new certificate"
CLOCKS = f"check the clocks of the server and of this machine; if they are right, {NEW}"
HOST = "write the host in endpoint as the certificate has it, or set security.server_name to a name that it has"
ASK = "ask whoever runs the authority"


@dataclass(frozen=True, slots=True)
class Known:
    """What lies in the folder."""

    trusted: tuple[x509.Certificate, ...] = ()  # servers and authorities that a person trusts
    issuers: tuple[x509.Certificate, ...] = ()  # authorities that only complete chains
    lists: tuple[x509.CertificateRevocationList, ...] = ()


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong: a clause, and what helps."""

    says: str
    helps: str
    of_chain: bool = False  # to trust the server's certificate itself would mend it as well


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of judging one certificate; it may be talked to when it is trusted and has no flaws."""

    trusted: bool
    stranger: str = ""  # why it is not trusted, as a clause
    flaws: tuple[Flaw, ...] = ()
    notes: tuple[str, ...] = ()  # worth saying though nothing is refused for it

    @property
    def good(self) -> bool:
        """Whether the server may be talked to."""
        return self.trusted and not self.flaws


def judge(
    leaf: x509.Certificate,
    sent: Sequence[x509.Certificate],
    known: Known,
    *,
    host: str,
    application_uri: str,
    now: datetime,
) -> Verdict:
    """Judge the certificate of a server at ``host`` that says it is ``application_uri``; ``sent``: its chain."""
    above, broken = _authorities_above(leaf, (*known.trusted, *known.issuers, *sent))
    by_itself = leaf in known.trusted
    anchor = next((i for i, each in enumerate(above) if each in known.trusted), None)
    flaws = list(flaws_of(leaf, host, application_uri, now))
    flaws += [flaw for flaw in broken if not (by_itself and flaw.of_chain)]
    if not by_itself:
        flaws += _flaws_of_chain(above if anchor is None else above[: anchor + 1], now)
    flaws += _revoked(leaf, above, known.lists)
    if by_itself or anchor is not None:
        used = above if anchor is None else above[: anchor + 1]
        return Verdict(trusted=True, flaws=tuple(flaws), notes=tuple(_outdated(used, known.lists, now)))
    return Verdict(trusted=False, stranger=_stranger(leaf, above, known, application_uri), flaws=tuple(flaws))


def flaws_of(leaf: x509.Certificate, host: str, application_uri: str, now: datetime) -> Iterator[Flaw]:
    """What is wrong with a server's certificate by itself."""
    if now > leaf.not_valid_after_utc:
        yield Flaw(f"it expired on {leaf.not_valid_after_utc:%Y-%m-%d}", NEW)
    if now < leaf.not_valid_before_utc:
        yield Flaw(f"it is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on only", CLOCKS)
    if _is_weak(leaf):
        yield Flaw(f"its key is weaker than RSA with {KEY_BITS_LEAST} bits", NEW)
    if not _is_for_servers(leaf):
        yield Flaw("it is not for servers (extended key usage)", NEW)
    uris, hosts = names_of(leaf)
    if not uris and not hosts:
        yield Flaw("it names neither an application nor a host", NEW)
        return
    if application_uri not in uris:
        says = f"it is for the application {', '.join(uris) or '(none)'}, the server says {application_uri}"
        yield Flaw(fit(says), NEW)
    if host.lower() not in hosts:
        yield Flaw(fit(f"it is for {', '.join(hosts) or 'no host'}, not for {host}"), HOST)


def names_of(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    """The application URIs and the hosts, in small letters, that a certificate is for."""
    try:
        names = _extension(certificate, x509.SubjectAlternativeName)
    except ValueError:
        return [], []
    if names is None:
        return [], []
    hosts = [
        *(name.lower() for name in names.get_values_for_type(x509.DNSName)),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]
    return names.get_values_for_type(x509.UniformResourceIdentifier), hosts


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it is for signing other certificates and for no application."""
    try:
        basic = _extension(certificate, x509.BasicConstraints)
        usage = _extension(certificate, x509.KeyUsage)
    except ValueError:
        return False
    if basic is None or not basic.ca or names_of(certificate)[0]:
        return False
    return usage is None or usage.key_cert_sign  # without it, it may be used for everything (RFC 5280, 4.2.1.3)


def thumbprint_of(certificate: x509.Certificate) -> str:
    """The SHA-1 thumbprint that OPC UA tools show; for people to compare, trust itself compares every byte."""
    return certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303


def common_name(name: x509.Name) -> str:
    """Fit for logs and file names, whatever a stranger wrote into it."""
    names = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", str(names[0].value) if names else "server")[:64]


def fit(text: str) -> str:
    """Fit for logs and terminals: a stranger's text cannot steer them, nor fill them."""
    return "".join(each if each.isprintable() else "?" for each in text[:300])


def split(chain: bytes) -> list[bytes]:
    """The certificates in a chain, the server's own first: DER says its length at its beginning.

    >>> [each.hex() for each in split(bytes.fromhex("3002aabb 308101cc 3001"))], split(b"junk")
    (['3002aabb', '308101cc', '3001'], [b'junk'])
    """
    found: list[bytes] = []
    while chain and len(found) < CHAIN_MOST:
        size = len(chain)
        if chain[0] == 0x30 and size > 2:
            width = chain[1] & 0x7F if chain[1] & 0x80 else 0
            size = 2 + width + (int.from_bytes(chain[2 : 2 + width], "big") if width else chain[1])
        found.append(chain[:size])
        chain = chain[size:]
    return found


# -------------------------------------------------------------------------------------------------------- chain


def _authorities_above(
    leaf: x509.Certificate, candidates: Sequence[x509.Certificate]
) -> tuple[list[x509.Certificate], list[Flaw]]:
    """The authorities from the one that signed ``leaf`` on upwards, as far as they are known, and broken signatures."""
    above: list[x509.Certificate] = []
    each = leaf
    while len(above) < CHAIN_MOST:
        if each.issuer == each.subject:
            fits = _is_weakly_signed(each) or _signed(each, each)  # who signs itself proves nothing by it
            return above, [] if fits else [Flaw(f"the signature of {_called(each, leaf)} is wrong", NEW)]
        named = [one for one in candidates if one.subject == each.issuer and is_authority(one)]
        if named and _is_weakly_signed(each):
            says = f"the authority {common_name(each.issuer)} signed {_called(each, leaf)} with less than SHA-256"
            return above, [Flaw(says, NEW, of_chain=True)]
        issuer = next((one for one in named if _signed(each, one)), None)
        if issuer is None:
            if not named:
                return above, []
            says = f"{_called(each, leaf)} was not signed by the authority {common_name(each.issuer)} that it names"
            return above, [Flaw(says, NEW)]
        above.append(issuer)
        each = issuer
    return above, [Flaw(f"there are more than {CHAIN_MOST} authorities above it", ASK, True)]


def _flaws_of_chain(above: Sequence[x509.Certificate], now: datetime) -> Iterator[Flaw]:
    """What is wrong with the authorities that a server would be trusted for."""
    for below, authority in enumerate(above):
        name = common_name(authority.subject)
        if _is_weak(authority):
            yield Flaw(f"the key of the authority {name} is weaker than RSA with {KEY_BITS_LEAST} bits", NEW, True)
        if now > authority.not_valid_after_utc:
            says = f"the certificate of the authority {name} expired on {authority.not_valid_after_utc:%Y-%m-%d}"
            yield Flaw(says, "ask whoever runs the authority for its new certificate", True)
        if now < authority.not_valid_before_utc:
            says = f"the authority {name} is valid from {authority.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on only"
            yield Flaw(says, CLOCKS, True)
        basic = _extension(authority, x509.BasicConstraints)
        longest = basic.path_length if basic else 0
        if longest is not None and below > longest:
            yield Flaw(f"the authority {name} may not have {below} authorities below it", ASK, True)


def _revoked(
    leaf: x509.Certificate, above: Sequence[x509.Certificate], lists: Sequence[x509.CertificateRevocationList]
) -> Iterator[Flaw]:
    """What is on a list of its authority. Where that is not known, a list in the folder is believed by its name."""
    chain = (leaf, *above)
    for i, each in enumerate(chain):
        authority = chain[i + 1] if i + 1 < len(chain) else None
        for revocations in lists:
            if revocations.issuer != each.issuer or (authority is not None and not _listed_by(revocations, authority)):
                continue
            entry = revocations.get_revoked_certificate_by_serial_number(each.serial_number)
            if entry is not None:
                by, day = common_name(revocations.issuer), f"{entry.revocation_date_utc:%Y-%m-%d}"
                helps = f"{NEW}; ask the authority {by} why it took this one back"
                yield Flaw(f"the authority {by} revoked {_called(each, leaf)} on {day}", helps)


def _outdated(
    authorities: Sequence[x509.Certificate], lists: Sequence[x509.CertificateRevocationList], now: datetime
) -> Iterator[str]:
    for authority in authorities:
        mine = [each for each in lists if each.issuer == authority.subject and _listed_by(each, authority)]
        ends = [each.next_update_utc for each in mine if each.next_update_utc is not None]
        if ends and len(ends) == len(mine) and max(ends) < now:
            yield (
                f"the revocation list of the authority {common_name(authority.subject)} is out of date since "
                f"{max(ends):%Y-%m-%d}: put its new one into issuers/crl"
            )


def _stranger(leaf: x509.Certificate, above: Sequence[x509.Certificate], known: Known, application_uri: str) -> str:
    """Why it is not trusted, as a clause."""
    says = "it is not trusted yet"
    top = above[-1] if above else leaf
    if above and top.issuer == top.subject:
        says += f", nor is the authority {common_name(top.subject)} that vouches for it"
    elif top.issuer != top.subject:
        says += f", and nothing is known here of the authority {common_name(top.issuer)} that vouches for it"
    former = next((each for each in known.trusted if application_uri in names_of(each)[0]), None)
    if former is not None:
        what = "key" if former.public_key() != leaf.public_key() else "certificate with the same key"
        says += (
            f"; it has another {what} than the one that is trusted for this server, "
            f"{thumbprint_of(former)}: find out why before you trust it"
        )
    return says


def _called(certificate: x509.Certificate, leaf: x509.Certificate) -> str:
    return "it" if certificate == leaf else f"the authority {common_name(certificate.subject)}"


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _listed_by(revocations: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key = authority.public_key()
    return isinstance(key, rsa.RSAPublicKey) and revocations.is_signature_valid(key)


def _is_weak(certificate: x509.Certificate) -> bool:
    key = certificate.public_key()
    return not isinstance(key, rsa.RSAPublicKey) or key.key_size < KEY_BITS_LEAST


def _is_weakly_signed(certificate: x509.Certificate) -> bool:
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return True
    return digest is None or digest.digest_size < DIGEST_BYTES_LEAST


def _is_for_servers(certificate: x509.Certificate) -> bool:
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    if usage is None:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    """None where it has none; ValueError where its extensions cannot be read."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as e:
        raise ValueError(str(e)) from e
