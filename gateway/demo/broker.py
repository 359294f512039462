"""An MQTT broker on loopback: mosquitto where it is installed, else amqtt (the extra ``demo``).

Run as a module it is the latter: ``python -m gateway.demo.broker PORT``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

from gateway.core.errors import GatewayError


def mosquitto() -> str | None:
    """The path of mosquitto; Debian keeps it where only root looks."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def command(port: int, folder: Path) -> tuple[tuple[str, ...], str]:
    """The command that runs a broker, and the newest MQTT version that it speaks."""
    program = mosquitto()
    if program:
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", "log_dest stderr"]
        if os.geteuid() == 0:
            # changing the user would make the kernel forget that the broker is to end with its parent
            lines.append("user root")
        file = folder / "mosquitto.conf"
        file.write_text("\n".join(lines) + "\n")
        return (program, "-c", str(file)), "5"
    if find_spec("amqtt") is None:
        raise GatewayError("there is no MQTT broker: install mosquitto, or pilot-gateway with the extra [demo]")
    return (sys.executable, "-m", "gateway.demo.broker", str(port)), "3.1.1"


def free_port() -> int:
    """A port of loopback nobody listens on now: a broker cannot tell which one it has chosen itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _serve(port: int) -> None:
    from amqtt.broker import Broker

    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        # said explicitly: the default selection is deprecated
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = Broker(config)
    await broker.start()
    await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_serve(int(sys.argv[1])))
