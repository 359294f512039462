"""asyncua's own log, made bearable: it writes a traceback each second while a server is away.

What matters reaches people as an error of the gateway. The rest is kept, each kind of message once a minute at most.
"""

from __future__ import annotations

import logging
import time

EVERY_S = 60.0
KINDS_MOST = 200


class Throttle(logging.Handler):
    """Passes a record on unless the same kind of message came within ``EVERY_S``."""

    def __init__(self, out: logging.Logger) -> None:
        super().__init__(logging.WARNING)
        self._out = out
        self._last_s: dict[tuple[str, str], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record, without its traceback, to the logger of this package."""
        kind = record.name, str(record.msg)
        now_s = time.monotonic()
        if now_s - self._last_s.get(kind, -EVERY_S) < EVERY_S:
            return
        if len(self._last_s) >= KINDS_MOST:
            self._last_s.clear()
        self._last_s[kind] = now_s
        level = min(record.levelno, logging.WARNING)  # nothing is lost by it: the driver reports what is
        if self._out.isEnabledFor(level):
            reason = record.exc_info[1] if record.exc_info else None
            self._out.log(level, "asyncua: %s%s", record.getMessage(), f" ({reason!r})" if reason else "")


def hush() -> None:
    """Put the throttle between asyncua and the log; once is enough, more do no harm."""
    library = logging.getLogger("asyncua")
    library.setLevel(logging.WARNING)
    library.propagate = False
    if not any(isinstance(handler, Throttle) for handler in library.handlers):
        library.addHandler(Throttle(logging.getLogger(__name__)))
