"""Running tasks by kind and name: started, ended and replaced one by one while all others go on.

Every task belongs to the one TaskGroup it is started in; a bug in any of them still ends them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from gateway.core.tasks import guarded


class Supervisor:
    """Who is running, of which kind, under which name."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}

    def start(self, kind: str, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` until it ends or is ended. A name is used by one task of its kind at a time."""
        key = kind, name
        assert key not in self._running or self._running[key].done(), f"{kind} {name} is running"  # noqa: S101
        self._running[key] = self._group.create_task(guarded(work), name=f"{kind} {name}".strip())

    async def end(self, *kinds: str, names: Iterable[str] | None = None) -> None:
        """Cancel the tasks of these kinds, or of these only the named ones, and wait for their clean end."""
        wanted = None if names is None else set(names)
        keys = [key for key in self._running if key[0] in kinds and (wanted is None or key[1] in wanted)]
        tasks = [self._running.pop(key) for key in keys]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
