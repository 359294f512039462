"""The servers of a redundant set (Part 4, 6.6.2): the gateway talks to one of them, the healthiest it finds.

In: the endpoints of a link. Out: a session. A server tells its health as ServiceLevel: 200 and more is healthy. Each
search begins behind the server that was lost, so a dead one costs no time when the other is there; it ends at the first
healthy one, else the best is taken. ``session`` gives up a server that was healthy and no longer is.
"""

from __future__ import annotations

import logging

from drivers.opcua.options import OpcUa
from drivers.opcua.session import HEALTHY, Session, open_session
from gateway.core.errors import DriverError, Refused, Unavailable

log = logging.getLogger(__name__)


class Servers:
    """All servers of one link; used by one task."""

    def __init__(self, link: str, options: OpcUa) -> None:
        self._link = link
        self._each = [options.model_copy(update={"endpoint": each}) for each in (options.endpoint, *options.also)]
        self._first = 0  # where the next search begins
        self._told = ""  # the endpoint that was logged last

    async def open(self) -> Session:
        """A session with the healthiest server. Raises DriverError with what every one of them said."""
        found: Session | None = None
        errors: list[DriverError] = []
        count = len(self._each)
        try:
            for place in (n % count for n in range(self._first, self._first + count)):
                try:
                    session = await open_session(self._link, self._each[place])
                except DriverError as error:
                    errors.append(error)
                    continue
                if found is not None and found.service_level >= session.service_level:
                    await session.close()
                    continue
                found, worse = session, found
                self._first = (place + 1) % count
                if worse is not None:
                    await worse.close()
                if found.service_level >= HEALTHY:
                    break
        except BaseException:
            if found is not None:
                await found.close()
            raise
        if found is None:
            raise _together(errors)
        self._tell(found)
        return found

    def _tell(self, session: Session) -> None:
        endpoint = session.peer.endpoint
        if len(self._each) > 1 and endpoint != self._told:
            level = session.service_level
            health = "" if level >= HEALTHY else f", the best there is, though not healthy (service level {level})"
            log.info("%s: talking to %s%s", self._link, endpoint, health)
            self._told = endpoint


def _together(errors: list[DriverError]) -> DriverError:
    """One error for all: retried slowly only where all of them want that."""
    if len(errors) == 1:
        return errors[0]
    sentence = "; ".join(map(str, errors))
    refused = [each for each in errors if isinstance(each, Refused)]
    if len(refused) < len(errors):
        return Unavailable(sentence)
    return Refused(sentence, slow=all(each.slow for each in refused))
