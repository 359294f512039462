"""What is allowed but worth a word: plaintext where others could listen, secrets in a wrong place, and what
the protocols have to say. Pure.

``check`` warns of what someone could do better; the status shows everything unprotected for as long as it is. The
options belong to drivers and sinks; the words ``security``, ``tls``, ``url`` and ``password`` mean the same in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from drivers import DRIVERS
from gateway.core.model import Link
from gateway.settings.model import Line, Settings, is_loopback


def plaintext_of(links: Sequence[Link], sinks: Mapping[str, object]) -> tuple[str, ...]:
    """For the status: a sentence per unprotected link and sink. ``sinks``: options by name."""
    found = [f"link {link.id}: {link.type} without protection" for link in links if not _protected(link.options)]
    found += [f"sink {name}: without TLS" for name, options in sinks.items() if not _protected(options)]
    return tuple(found)


def advice(settings: Settings) -> tuple[str, ...]:
    """For ``check``: one sentence per thing that a careful person would look at again."""
    return tuple(_gateway(settings)) + tuple(word for line in settings.lines for word in line_advice(line))


def line_advice(line: Line) -> Iterator[str]:
    """The same for one line."""
    for link in line.links:
        place = f"{line.file}: link {link.id}"
        if hasattr(link.options, "security") and not _protected(link.options):
            yield f"{place}: security policy None: anyone on the network can read and forge its values"
        if getattr(link.options, "password", None) is not None:
            yield f"{place}: the password stands in the line file; password_file keeps it apart"
        for word in DRIVERS[link.type].advice_on(link):
            yield f"{place}: {word}"


def _gateway(settings: Settings) -> Iterator[str]:
    for name, sink in settings.sinks.items():
        host = _host(sink)
        if not _protected(sink) and not is_loopback(host):
            yield f"{settings.file}: sink {name}: no TLS to {host}: anyone on the way can read values and passwords"
    if not settings.api.loopback:
        yield f"{settings.file}: api: plain HTTP on {settings.api.host}: its token can be read on the way"


def _protected(options: object) -> bool:
    """Whether nobody on the network can read or forge what such a link or sink says."""
    security = getattr(options, "security", None)
    if security is not None:
        return getattr(security, "policy", "None") != "None"
    url = getattr(options, "url", None)
    if url is not None:
        return str(url).startswith("https://")
    return getattr(options, "tls", None) is not None


def _host(options: object) -> str:
    url = getattr(options, "url", None)
    return str((urlsplit(url).hostname or "") if url is not None else getattr(options, "host", ""))
