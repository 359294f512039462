"""Exceptions of asyncua, asyncio and the socket → errors of the gateway, each with a sentence for a technician.

::

    BadUserAccessDenied, BadCertificate…, BadSecurity…      → Refused
    any other StatusCode of a whole call                    → ServiceFault, an Unavailable that knows its code
    no answer, nobody there, connection lost                → Unavailable
    bytes that are no OPC UA, a wrong signature             → ProtocolError
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from drivers.opcua.library import InvalidSignature, ua
from drivers.opcua.wire import BROKEN
from gateway.core.errors import DriverError, ProtocolError, Refused, Unavailable

_REFUSALS = {
    "BadUserAccessDenied": "refuses the user: check username and password, or the certificate of the user",
    "BadIdentityTokenRejected": "refuses the user: check username and password, or the certificate of the user",
    "BadIdentityTokenInvalid": "refuses this kind of user: it may want a username, or allow no anonymous ones",
    "BadSecurityModeInsufficient": "wants a better protected conversation: check security.mode",
    "BadSecurityPolicyRejected": "refuses the security policy: check security.policy",
    "BadSecurityModeRejected": "refuses the security mode: check security.mode",
}
_NOT_TRUSTED = "refuses the certificate of this gateway (own/ in the pki folder): trust it on the server"


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a link talks to, for sentences."""

    link: str
    endpoint: str

    def __str__(self) -> str:
        return self.endpoint


class ServiceFault(Unavailable):
    """The server answered a call with a bad StatusCode as a whole."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def translated(peer: Peer) -> Iterator[None]:
    """Errors of the gateway in place of those of libraries."""
    try:
        yield
    except DriverError:
        raise
    except TimeoutError as e:  # also asyncio's
        raise Unavailable(f"{peer} does not answer in time: is the server switched on and in the network?") from e
    except ua.UaStatusCodeError as e:
        raise of_status(peer, e.code) from e
    except InvalidSignature as e:
        raise ProtocolError(f"{peer}: a message is not signed by the server that the certificate names") from e
    except ConnectionRefusedError as e:
        raise Unavailable(f"nothing listens at {peer.endpoint}: is the server switched on, is the port right?") from e
    except socket.gaierror as e:
        raise Unavailable(
            f"nobody knows the host name in {peer.endpoint}: is it spelled right, does the name server know it?"
        ) from e
    except OSError as e:  # ConnectionError is one
        raise Unavailable(f"{peer}: the connection is lost ({e.strerror or e})") from e
    except (ua.UaError, ValueError) as e:
        raise ProtocolError(f"{peer}: an answer that makes no sense ({e})") from e
    except BROKEN as e:
        if not _raised_in_library(e):
            raise
        raise ProtocolError(f"{peer}: an answer that makes no sense ({type(e).__name__}: {e})") from e


def _raised_in_library(error: BaseException) -> bool:
    """Whether it comes out of asyncua, which says so of bytes that are no answer; from elsewhere it is a bug."""
    trace, name = error.__traceback__, ""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__"))
        trace = trace.tb_next
    return name.partition(".")[0] == "asyncua"


def of_status(peer: Peer, code: int) -> DriverError:
    """The error that a StatusCode of a whole call stands for."""
    name = status_name(code)
    if name in _REFUSALS:
        return Refused(f"{peer} {_REFUSALS[name]} ({name})")
    if name.startswith("BadCertificate") or name == "BadSecurityChecksFailed":
        return Refused(f"{peer} {_NOT_TRUSTED} ({name})")
    return ServiceFault(f"{peer} answers {name}", code)


def status_name(code: int) -> str:
    """What the standard calls a StatusCode."""
    return str(ua.StatusCode(code).name)
