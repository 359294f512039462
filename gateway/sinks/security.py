"""Passwords, tokens and certificates of the delivery side, read when a connection is made, never kept in the open."""

from __future__ import annotations

import ssl
from pathlib import Path

from pydantic import SecretStr

from gateway.core.errors import SinkUnavailable
from gateway.sinks.options import Tls


def read_secret(given: SecretStr | None, file: str | None, what: str) -> str:
    """The secret itself, from the configuration or from its file; empty where neither is configured.

    The white space around it goes: editors end a file with a line feed. Raises SinkUnavailable, slow.
    """
    if file is None:
        return given.get_secret_value() if given else ""
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SinkUnavailable(f"the {what} file {file} cannot be read: {error.strerror}", slow=True) from error
    except UnicodeDecodeError as error:
        raise SinkUnavailable(f"the {what} file {file} is not UTF-8 text", slow=True) from error
    if not secret:
        raise SinkUnavailable(f"the {what} file {file} is empty", slow=True)
    if not secret.isprintable():
        raise SinkUnavailable(f"the {what} file {file} must hold one line, the {what} alone", slow=True)
    return secret


def tls_context(tls: Tls) -> ssl.SSLContext:
    """What TLS connections are made with; the other side's certificate and host name are always verified.

    Raises SinkUnavailable, slow.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except FileNotFoundError as error:
        names = ", ".join(name for name in (tls.ca_file, tls.cert_file, tls.key_file) if name)
        raise SinkUnavailable(f"a certificate or key file is missing, one of: {names}", slow=True) from error
    except OSError as error:  # also ssl.SSLError: unreadable, not PEM, key and certificate do not match
        names = ", ".join(name for name in (tls.ca_file, tls.cert_file, tls.key_file) if name)
        reason = error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error)
        raise SinkUnavailable(f"certificates cannot be loaded from {names}: {reason}", slow=True) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = ClosingSocket
    return context


class ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; libraries tend to leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def certificate_error(error: ssl.SSLError, host: str) -> SinkUnavailable:
    """What a failed handshake means to the person who has to mend it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return SinkUnavailable(
            f"the certificate of {host} is not accepted: {error.verify_message}; if it is the right server, "
            f"set tls.ca_file to the authority that signed it",
            slow=True,
        )
    return SinkUnavailable(f"TLS with {host} failed: {error.reason or error}; is it a TLS port?", slow=True)
