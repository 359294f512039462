"""Runs the demonstration from start to end."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from rich.console import Console
from rich.live import Live

from gateway.core.errors import GatewayError
from gateway.demo import broker, files, screen
from gateway.demo.children import Child, Stopped, Until
from gateway.demo.screen import Moment, Places
from gateway.demo.witness import PREFIX, Witness

START_S = 30.0  # a slow machine imports for some seconds
REFRESH_S = 0.5
PROGRESS_S = 2.0

_direct = build_opener(ProxyHandler({}))  # a proxy of the environment is not meant for loopback


class Show:
    """One demonstration. ``say`` prints a line."""

    def __init__(
        self,
        shipped: Path,
        folder: Path,
        *,
        duration_s: float | None,
        api_port: int,
        live: bool,
        console: Console,
    ) -> None:
        self._shipped = shipped
        self._folder = folder
        self._duration_s = duration_s
        self._api_port = api_port or broker.free_port()
        self._live = live
        self._console = console
        self._until = Until()
        self._environ = files.environment(os.environ)
        self._moment = Moment()

    def run(self) -> list[str]:
        """Until the time is over or somebody stops it. Returns what failed, as sentences; empty: all is well."""
        writes: int | None = None
        with self._until.signals():
            try:
                with ExitStack() as stack:
                    simulator = self._start_all(stack)
                    try:
                        self._watch()
                    except Stopped:
                        self._console.print("stopping", highlight=False)
                    self._until.stop.clear()  # what follows is short and must not be cut
                    self._settle()
                    self._stop_children(stack)
                    writes = self._written(simulator)
            except Stopped:
                return ["it was stopped before it had begun"]
        self._console.print(screen.table(self._moment))
        for line in ("", *screen.counts(self._moment)):
            self._console.print(line, highlight=False)
        return screen.failures(self._moment, writes)

    # -------------------------------------------------------------------------------------------------- starting

    def _start_all(self, stack: ExitStack) -> Child:
        """Broker, simulator, witness, gateway; the simulator."""
        mqtt_port = broker.free_port()
        command, version = broker.command(mqtt_port, self._folder)
        self._start(stack, "broker", command, signal.SIGKILL)
        simulator = self._start(
            stack,
            "simulator",
            self._own(
                *("simulate", str(self._shipped / "lines" / f"{files.LINE}.yaml"), "--host", "127.0.0.1"),
                *("--modbus-port", "0", "--opcua-port", "0", "--format", "json"),
            ),
        )
        witness = Witness(mqtt_port)
        self._until.true(lambda: _works(witness.start), START_S, "the broker did not listen")
        stack.callback(witness.stop)
        self._until.meanwhile.append(witness.work)
        self._witness = witness
        self._until.true(lambda: witness.subscribed, START_S, "the broker took no subscription")
        self._until.true(lambda: bool(_said(simulator, "ready")), START_S, "the simulator did not start")
        addresses = {link["link"]: link["address"] for link in _said(simulator, "ready")["links"]}
        mqtt = {"host": "127.0.0.1", "port": mqtt_port, "version": version, "prefix": PREFIX}
        config = files.write_config(self._shipped, self._folder, addresses, mqtt, self._api_port)
        self._start(stack, "gateway", self._own("serve", "--config", str(config)))
        self._until.true(self._look, START_S, "the gateway did not start")
        self._until.true(self._flows, START_S, "not every device was read and published")
        self._places = Places(self._api_port, mqtt_port, Path(command[0]).name if version == "5" else "amqtt",
                              str(self._folder), PREFIX)  # fmt: skip
        return simulator

    def _start(
        self, stack: ExitStack, name: str, command: tuple[str, ...], last_words: signal.Signals = signal.SIGTERM
    ) -> Child:
        child = Child(name, command, self._folder, self._environ, last_words)
        stack.callback(child.stop)
        self._until.children.append(child)
        return child

    @staticmethod
    def _own(*arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "gateway", *arguments)

    # -------------------------------------------------------------------------------------------------- watching

    def _watch(self) -> None:
        """Show what happens until the time is over."""
        start = time.monotonic()
        if not self._live:
            for line in self._places.lines():
                self._console.print(line, highlight=False)
        with Live(console=self._console, auto_refresh=False, transient=True) if self._live else nullcontext() as live:
            while True:
                seconds = time.monotonic() - start
                left_s = self._duration_s - seconds if self._duration_s else float("inf")
                self._look()
                if live:
                    live.update(screen.view(self._moment, self._places, seconds, self._duration_s), refresh=True)
                else:
                    self._console.print(screen.progress(self._moment, seconds), highlight=False)
                if left_s <= 0:
                    return
                self._until.pause(min(left_s, REFRESH_S if self._live else PROGRESS_S))

    def _look(self) -> bool:
        """Take in what the API and the witness say; False when the API does not answer."""
        status, live = self._ask("status"), self._ask("live")
        if not status or not live:
            return False
        self._moment = Moment(status, live, self._witness.messages, self._witness.values)
        return True

    def _flows(self) -> bool:
        """Whether every device is read and something has arrived: from here on the time counts."""
        return (
            self._look()
            and self._moment.messages > 0
            and all(device["state"] == "online" for device in self._moment.live["devices"])
        )

    def _ask(self, what: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._api_port}/api/v1/{what}"
        try:
            with _direct.open(url, timeout=2) as answer:
                content: dict[str, Any] = json.load(answer)
        except (OSError, HTTPException, ValueError):
            return {}  # seen again in a moment, or the child's end is
        return content

    # -------------------------------------------------------------------------------------------------- stopping

    def _settle(self) -> None:
        """Let the subscriber get what the gateway has delivered when last asked."""
        self._look()
        moment = self._moment
        delivered = moment.sink("mqtt").get("delivered_since_start", {}).get("records", 0)
        with suppress(GatewayError):  # ``failures`` says so, with numbers
            self._until.true(lambda: self._witness.messages >= delivered, 5.0, "not everything arrived")
        self._moment = Moment(moment.status, moment.live, self._witness.messages, self._witness.values)

    def _stop_children(self, stack: ExitStack) -> None:
        self._until.children.clear()
        self._until.meanwhile.clear()
        stack.close()

    def _written(self, simulator: Child) -> int | None:
        return _said(simulator, "stopped").get("writes")


def _works(action: Callable[[], None]) -> bool:
    try:
        action()
    except GatewayError:
        return False
    return True


def _said(child: Child, key: str) -> dict[str, Any]:
    """The object with that key that a child has printed; empty when it has not yet."""
    for line in child.output.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            content: dict[str, Any] = json.loads(line)
            if key in content:
                return content
    return {}
