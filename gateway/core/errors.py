"""Every error of the gateway, named by what the caller should do about it.

::

    GatewayError
     ├ ConfigError          at start (exit 78) and at a reload: every mistake at once
     ├ DriverError
     │  ├ Unavailable       the link is dead: all its tags turn bad; back off, connect again
     │  │  └ Refused        credentials or certificate: back off slowly and say what to do
     │  ├ ProtocolError     an answer that makes no sense: close the link and connect again
     │  └ NoAnswer          one device of a living link stays silent: only its tags turn bad
     ├ SinkError
     │  ├ SinkUnavailable   nothing of this write counts: keep everything, try again
     │  └ Rejected          these records are refused for good: dead-letter them, go on
     └ JournalError         disk full, damage: degrade loudly, never stop polling

Anything else is a bug. It is not caught: it leaves the task group, the process exits and is restarted.
Exceptions of libraries are translated where the library is used, with ``raise … from``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.quality import Status


class GatewayError(Exception):
    """Base of every error this program raises on purpose; its text is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in the configuration."""

    file: str
    line: int  # 1-based; 0 when no line is to blame
    key: str  # dotted path, empty for the file as a whole
    message: str  # what is wrong, what is allowed, did you mean

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(GatewayError):
    """The configuration cannot be used; ``mistakes`` lists everything that is wrong with it."""

    exit_code = 78  # EX_CONFIG of sysexits.h

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(map(str, self.mistakes)))


class DriverError(GatewayError):
    """Something on the field side went wrong."""


class Unavailable(DriverError):
    """The link is dead or was never there: back off and connect again."""


class Refused(Unavailable):
    """One side does not want the other (credentials, certificate): the text says what a person can do.

    ``slow``: the other side refuses, and would write down every attempt: retry rarely. Else it is our own refusal,
    which a person mends at this machine at any moment.
    """

    def __init__(self, message: str, *, slow: bool = True) -> None:
        super().__init__(message)
        self.slow = slow


class ProtocolError(DriverError):
    """The answer makes no sense, so what follows cannot be trusted: close the link and connect again."""


class NoAnswer(DriverError):
    """One device stayed silent while its link is fine: its tags turn bad, the others go on.

    ``status``: what they turn; another one where somebody on the way says that he cannot reach it.
    """

    def __init__(self, message: str, status: Status = Status.BAD_COMMUNICATION_ERROR) -> None:
        super().__init__(message)
        self.status = status


class SinkError(GatewayError):
    """Something on the delivery side went wrong."""


class SinkUnavailable(SinkError):
    """The write did not happen or is not known to have happened: keep everything and try again.

    ``retry_after_s`` is what the other side asked for, ``slow`` marks refusals that only a person can mend
    (credentials, a missing bucket) and that are therefore retried rarely.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, slow: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.slow = slow


class Rejected(SinkError):
    """The records at ``indices`` (of the batches handed to ``write``) are refused for good.

    All others of the same write are durably accepted.
    """

    def __init__(self, indices: Sequence[int], reason: str) -> None:
        super().__init__(reason)
        self.indices = tuple(indices)
        self.reason = reason


class JournalError(GatewayError):
    """The journal cannot take or give records (disk full, damage, another owner)."""
