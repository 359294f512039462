"""What every task of a TaskGroup is wrapped in."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def guarded(work: Coroutine[Any, Any, None]) -> None:
    """A cancellation that nobody asked for is a bug: a TaskGroup takes it for a wanted end, and a link goes silent."""
    try:
        await work
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            raise RuntimeError(f"{task.get_name()} was cancelled from within") from cancelled
        raise
