"""Which conversations anyone on the network can read or forge: the status shows them until they are protected. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.core.model import Link


def plaintext_of(links: Sequence[Link], sinks: Mapping[str, object]) -> tuple[str, ...]:
    """A sentence per unprotected link and sink. ``sinks``: options by name.

    The options belong to drivers and sinks; the words ``security``, ``tls`` and ``url`` mean the same in all of them.
    """
    found = [f"link {link.id}: {link.type} without protection" for link in links if not _protected(link.options)]
    found += [f"sink {name}: without TLS" for name, options in sinks.items() if not _protected(options)]
    return tuple(found)


def _protected(options: object) -> bool:
    security = getattr(options, "security", None)
    if security is not None:
        return getattr(security, "policy", "None") != "None"
    url = getattr(options, "url", None)
    if url is not None:
        return str(url).lower().startswith("https://")
    return getattr(options, "tls", None) is not None
