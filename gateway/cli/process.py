"""What the long-running commands share: the event loop, signals, and telling systemd."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on uvloop where it is installed (the extra ``speed``), else on asyncio's own loop."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Call ``stop`` in the running loop with every SIGTERM and SIGINT of this process."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def on_reload_signal(reload: Callable[[], None]) -> None:
    """Call ``reload`` in the running loop with every SIGHUP of this process."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def notify_systemd(state: str, environ: Mapping[str, str] = os.environ) -> None:
    """Tell the service manager, if there is one, ``READY=1`` or ``STOPPING=1`` (sd_notify(3))."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract name space
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.sendall(state.encode())
    except OSError as error:
        log.warning("systemd could not be told %s: %s", state, error)
