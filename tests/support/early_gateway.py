"""``pilot-gateway`` with one thing broken: its sinks say *delivered* before the other side has acknowledged.

The control of the kill proof: the cursor moves too early, so a kill must lose data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.cli import main
from gateway.core.model import Batch
from gateway.sinks.influxdb import InfluxDbSink

LATE_S = 0.3

_write = InfluxDbSink.write


async def _write_later(self: InfluxDbSink, batches: Sequence[Batch], history: bool) -> None:
    """Return at once; write when the cursor has long moved."""
    before = _last.get(self)

    async def later() -> None:
        await asyncio.sleep(LATE_S)
        if before:
            await before
        await _write(self, batches, history)

    _last[self] = asyncio.create_task(later(), name="late write")


_last: dict[InfluxDbSink, asyncio.Task[None]] = {}

if __name__ == "__main__":
    InfluxDbSink.write = _write_later  # type: ignore[method-assign]
    main()
