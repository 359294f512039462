"""What differs between the configuration in force and a new one, and what can follow without a restart. Pure.

A link, a sink, the API: each is compared as a whole, with its devices, tags and whatever its templates brought along.
What is equal is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from gateway.settings import Settings

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Difference:
    """Names of one kind of thing."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def ended(self) -> tuple[str, ...]:
        """Those whose tasks end."""
        return self.removed + self.changed

    @property
    def started(self) -> tuple[str, ...]:
        """Those whose tasks start."""
        return self.changed + self.added

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def told(self) -> dict[str, list[str]]:
        """As JSON."""
        return {"added": list(self.added), "removed": list(self.removed), "changed": list(self.changed)}

    @classmethod
    def between(cls, old: Mapping[str, Part], new: Mapping[str, Part]) -> Difference:
        """By name, in the order of the files.

        >>> Difference.between({"a": 1, "b": 2, "c": 3}, {"b": 5, "c": 3, "d": 4})
        Difference(added=('d',), removed=('a',), changed=('b',))
        """
        return cls(
            added=tuple(name for name in new if name not in old),
            removed=tuple(name for name in old if name not in new),
            changed=tuple(name for name in new if name in old and old[name] != new[name]),
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """From the configuration in force to ``settings``, the one to be in force next."""

    settings: Settings
    links: Difference
    devices: Difference  # by path
    sinks: Difference
    api: bool = False
    log: bool = False
    needs_restart: tuple[str, ...] = ()  # sentences: these keep their old values

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.links or self.devices or self.sinks or self.api or self.log)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "links": self.links.told(),
            "devices": self.devices.told(),
            "sinks": self.sinks.told(),
            "api": self.api,
            "log": self.log,
            "needs_restart": list(self.needs_restart),
        }

    def __str__(self) -> str:
        words = [
            f"{kind} {how}: {', '.join(names)}"
            for kind, difference in (("links", self.links), ("devices", self.devices), ("sinks", self.sinks))
            for how, names in difference.told().items()
            if names
        ]
        words += [what for what, differs in (("api changed", self.api), ("log changed", self.log)) if differs]
        return "; ".join(words) or "nothing changed"


def compare(old: Settings, new: Settings) -> Changes:
    """What has to be done; what only a restart can change stays as it is and is named."""
    sentences = []
    if new.gateway != old.gateway:
        sentences.append(f"gateway: the name stays {old.gateway} until a restart")
    for option in type(old.journal).model_fields:
        before, now = getattr(old.journal, option), getattr(new.journal, option)
        if before != now:
            sentences.append(f"journal.{option}: stays {before} until a restart, then {now}")
    return Changes(
        settings=replace(new, gateway=old.gateway, journal=old.journal),
        links=Difference.between(_links(old), _links(new)),
        devices=Difference.between(_devices(old), _devices(new)),
        sinks=Difference.between(old.sinks, new.sinks),
        api=old.api != new.api,
        log=old.log != new.log,
        needs_restart=tuple(sentences),
    )


def _links(settings: Settings) -> dict[str, object]:
    return {link.id: link for line in settings.lines for link in line.links}


def _devices(settings: Settings) -> dict[str, object]:
    return {device.path: device for device in settings.devices}
