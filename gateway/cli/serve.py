"""``pilot-gateway serve``: run the gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from gateway import __version__, logs
from gateway.app import App
from gateway.cli.process import notify_systemd, on_reload_signal, on_stop_signal, run_loop
from gateway.core.errors import GatewayError
from gateway.secret_texts import secrets_in
from gateway.settings import Settings, load

log = logging.getLogger(__name__)

STOP_S = 5.0  # a clean stop takes at most so long
FAILED, BUG = 1, 70  # exit codes; a wrong configuration is 78


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("config/gateway.yaml"),
    show_default=True,
    help="gateway.yaml, or the folder that holds it.",
)
def serve(config: Path) -> None:
    """Run the gateway: read the instruments, keep every value, deliver it.

    \b
    Example:
      pilot-gateway serve --config /etc/pilot-gateway/gateway.yaml

    SIGTERM or Ctrl-C stops it within 5 s; what is not delivered by then goes out after the next start.
    SIGHUP has it read its configuration again and follow it; where that is wrong, the one before stays in force.

    Exit codes: 0 stopped as told, 78 wrong configuration, 1 cannot run (the journal cannot be opened, another
    gateway uses it), 70 a bug.
    """  # noqa: D301
    settings = load(config)
    _configure_logs(settings)
    log.info("pilot-gateway %s starts", __version__, extra={"gateway": settings.gateway, "config": str(settings.file)})
    sys.exit(run_loop(_serve(App(settings, in_force=_configure_logs))))


async def _serve(app: App) -> int:
    """Until the app ends, by itself or told by a signal; the exit code."""
    loop = asyncio.get_running_loop()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            _abandon("was told twice to stop, and ends at once")
        stopping = True
        log.info("stopping")
        notify_systemd("STOPPING=1")
        app.stop()
        loop.call_later(STOP_S, _abandon, f"did not stop within {STOP_S:.0f} s, and ends at once")

    on_stop_signal(stop)
    on_reload_signal(app.ask_reload)
    code = 0
    try:
        await app.run(_ready)
    except* GatewayError as group:
        code = FAILED
        for error in _leaves(group):
            log.critical("cannot run: %s", error)
    except* Exception as group:
        code = BUG
        for error in _leaves(group):
            log.critical("a bug ends the gateway", exc_info=error)
    log.info("stopped")
    return code


def _configure_logs(settings: Settings) -> None:
    logs.configure(settings.log.level, settings.log.format.value, secrets=secrets_in(settings))


def _ready() -> None:
    log.info("ready")
    gc.collect()
    gc.freeze()  # what is there now stays: the collector need not look at it again
    notify_systemd("READY=1")


def _abandon(why: str) -> None:
    """Leave without waiting for anybody. Nothing accepted is lost: that is what the journal is for."""
    running = ", ".join(sorted(task.get_name() for task in asyncio.all_tasks()))
    log.error("the gateway %s; still running: %s", why, running)
    logging.shutdown()
    os._exit(FAILED)


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
