"""Who the gateway says it is to a server: nobody in particular, a user with a password, or one with a certificate.

In: the options of a link; files are read again at every connect, so that what a person mends holds at once. Out: what
activates a session. Raises Refused with what to do. Blocking: call in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from drivers.opcua.failures import Peer
from drivers.opcua.options import OpcUa
from gateway.core.errors import Refused


@dataclass(frozen=True, slots=True)
class User:
    """Without name and certificate: anonymous."""

    name: str = ""
    password: str | None = field(default=None, repr=False)
    certificate: Any = None
    key: Any = field(default=None, repr=False)


def user_of(peer: Peer, options: OpcUa) -> User:
    """The user of a link."""
    if options.user_certificate_file is not None and options.user_key_file is not None:
        return _certified(peer, options.user_certificate_file, options.user_key_file)
    if options.password_file is None:
        return User(options.username, options.password.get_secret_value() if options.password else None)
    try:
        password = _read(peer, "password_file", options.password_file).decode()
    except UnicodeDecodeError as e:
        raise Refused(f"{peer.link}: password_file {options.password_file} is not text in UTF-8") from e
    return User(options.username, password.rstrip("\r\n"))


def _certified(peer: Peer, certificate_file: str, key_file: str) -> User:
    raw = _read(peer, "user_certificate_file", certificate_file)
    try:
        pem = raw.lstrip().startswith(b"-----BEGIN")
        certificate = x509.load_pem_x509_certificate(raw) if pem else x509.load_der_x509_certificate(raw)
    except ValueError as e:
        raise Refused(f"{peer.link}: user_certificate_file {certificate_file} is no certificate (PEM or DER)") from e
    raw = _read(peer, "user_key_file", key_file)
    try:
        pem = raw.lstrip().startswith(b"-----BEGIN")
        key = load_pem_private_key(raw, None) if pem else load_der_private_key(raw, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        what = "no private key without a password (PEM or DER)"
        raise Refused(f"{peer.link}: user_key_file {key_file} is {what}") from e
    if not isinstance(key, RSAPrivateKey) or key.public_key() != certificate.public_key():
        raise Refused(f"{peer.link}: the key in {key_file} is not the RSA key of the certificate in {certificate_file}")
    return User(certificate=certificate, key=key)


def _read(peer: Peer, option: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as e:
        raise Refused(f"{peer.link}: cannot read {option} {file}: {e.strerror}") from e
