"""One measurement: farm → gateway → broker and database, all real processes, and what each of them says about it.

The order matters: count everything from the first scan to the last, but measure CPU, period and latency only within a
window of steady work. At the end the farm falls silent first, so that everything it ever answered can arrive, and only
then are the counts compared.
"""

from __future__ import annotations

import asyncio
import compileall
import json
import math
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.bench.measure import Usage, calibration_ns, peak_rss_mb, percentile, usage
from tests.bench.scenario import PREFIX, Scenario, device_id, gateway_config, line_config
from tests.bench.servers import mosquitto, stored_values, victoria_metrics
from tests.support.processes import ROOT, Process, ProcessFailed, free_port, gateway_command, run_process, run_to_end

QUIET_S = 1.5  # nothing new for so long: everything that is on its way has arrived
FIRST_S = 30.0  # the longest time to wait for the first value
DRAIN_S = 60.0  # the longest time to wait for that


@dataclass(frozen=True, slots=True)
class Result:
    """What one scenario gave. Counts are of the whole run, rates and percentiles of the window."""

    scenario: Scenario
    window_s: float
    offered: int  # values the farm answered with
    answered: int  # those within the window
    accepted: int | None  # readings the journal took, bad ones included
    published: int  # usable values in data messages, copies included
    stored: int | None  # samples in the database, copies included; None: not delivered to
    lost: int  # values of scans that never reached the subscriber
    twice: int  # messages that came again
    gaps: int  # sequence numbers that are missing
    bad: int  # readings without a usable value (all of them after the farm fell silent, or something is wrong)
    writes: int  # write requests the farm got
    used: Usage
    peak_rss_mb: float
    commits: float | None  # of the journal, per second
    period_ms: tuple[float, float, float]  # p1, p50, p99 of all devices
    period_worst_ms: float  # the worst device's p99
    latency_ms: tuple[float, float]  # p50, p99
    first_value_s: float  # from the start of the process to the first value of the first device
    all_values_s: float  # … of the last device
    check_s: float  # pilot-gateway check of this configuration
    calibration_ns: float

    @property
    def us_per_value(self) -> float:
        return self.used.cpu_s / self.answered * 1e6 if self.answered else math.nan

    @property
    def turns_per_value(self) -> float:
        """CPU per value in turns of the calibration loop: what compares between machines."""
        return self.us_per_value * 1000 / self.calibration_ns


async def measure(scenario: Scenario, directory: Path) -> Result:
    """Run the scenario once; files and journals go to the directory."""
    calibration = calibration_ns()
    async with AsyncExitStack() as stack:
        broker, mqtt_port = await stack.enter_async_context(mosquitto(directory))
        influx_port = 0
        if "influxdb" in scenario.sinks:
            _, influx_port = await stack.enter_async_context(victoria_metrics(directory))
        farm = await stack.enter_async_context(_farm(scenario, directory))
        ports = [int(port) for port in (await farm.wait_for(r"^ready (.*)"))[1].split()]
        subscriber = await stack.enter_async_context(count_messages(mqtt_port, directory))

        api_port = free_port()
        where = {"api_port": api_port, "mqtt_port": mqtt_port, "influx_port": influx_port}
        gateway_yaml = gateway_config(scenario, journal=str(directory / "journal"), **where)
        config = write_config(directory, gateway_yaml, line_config(scenario, ports))
        compileall.compile_dir(ROOT / "gateway", quiet=1)  # as an installed package is
        compileall.compile_dir(ROOT / "drivers", quiet=1)
        check_s = await _check(config)
        begin = time.time()
        gateway = await stack.enter_async_context(
            run_process(*gateway_command("serve", "--config", str(config)), name="gateway")
        )
        await first_values(subscriber, gateway)
        await asyncio.sleep(scenario.warm_up_s)

        window = [time.time(), time.monotonic()]
        before, commits = usage(gateway.pid), await gateway_metrics(api_port)
        await asyncio.sleep(scenario.seconds)
        used, later = usage(gateway.pid).since(before), await gateway_metrics(api_port)
        window_s = time.monotonic() - window[1]
        peak = peak_rss_mb(gateway.pid)

        farm.send(signal.SIGUSR1)
        await farm.wait_for("^silent")
        await everything_arrives(subscriber, gateway, broker)
        accepted = (await gateway_metrics(api_port)).get("accepted")
        await gateway.stop()
        stored = await stored_values(influx_port) if influx_port else None
        await subscriber.stop()
        await farm.stop()

    said = json.loads((directory / "farm.json").read_text())
    heard = json.loads((directory / "subscriber.json").read_text())
    times = [
        [each for each in device if window[1] <= each <= window[1] + scenario.seconds] for device in said["times_s"]
    ]
    periods = [[1000 * (b - a) for a, b in pairwise(device)] for device in times]
    every = [each for device in periods for each in device]
    ages = [
        age
        for at, age in zip(heard["arrived_s"], heard["age_ms"], strict=True)
        if window[0] <= at <= window[0] + scenario.seconds
    ]
    missing = sum(scans - heard["scans"].get(device_id(number), 0) for number, scans in enumerate(said["scans"]))
    return Result(
        scenario=scenario,
        window_s=window_s,
        offered=sum(said["scans"]) * scenario.tags,
        answered=sum(map(len, times)) * scenario.tags,
        accepted=None if accepted is None else int(accepted),
        published=heard["values"],
        stored=stored,
        lost=missing * scenario.tags,
        twice=heard["twice"],
        gaps=heard["gaps"],
        bad=heard["bad"],
        writes=said["writes"],
        used=used,
        peak_rss_mb=peak,
        commits=(later["commits"] - commits["commits"]) / window_s if "commits" in later else None,
        period_ms=(percentile(every, 0.01), percentile(every, 0.5), percentile(every, 0.99)),
        period_worst_ms=max((percentile(device, 0.99) for device in periods if device), default=math.nan),
        latency_ms=(percentile(ages, 0.5), percentile(ages, 0.99)),
        first_value_s=min(heard["first_s"].values()) - begin,
        all_values_s=max(heard["first_s"].values()) - begin,
        check_s=check_s,
        calibration_ns=min(calibration, calibration_ns()),
    )


def _farm(scenario: Scenario, directory: Path) -> Any:
    return run_process(
        *(sys.executable, "-m", "tests.bench.farm"),
        *("--devices", str(scenario.devices), "--tags", str(scenario.tags)),
        *("--delay-ms", *map(str, scenario.delay_ms)),
        *("--output", str(directory / "farm.json")),
        ready="^ready",
        deadline_s=60,
        name="farm",
    )


def count_messages(port: int, directory: Path) -> Any:
    return run_process(
        *(sys.executable, "-m", "tests.bench.subscriber", "--port", str(port), "--topic", f"{PREFIX}/+/+/+/data"),
        *("--output", str(directory / "subscriber.json")),
        ready="^ready",
        name="subscriber",
    )


def write_config(directory: Path, gateway: Mapping[str, Any], line: Mapping[str, Any]) -> Path:
    """The configuration files; gives the path of gateway.yaml."""
    config = directory / "gateway.yaml"
    lines = directory / "lines"
    lines.mkdir()
    (directory / "templates").mkdir()
    config.write_text(yaml.safe_dump(dict(gateway), sort_keys=False))
    (lines / "farm.yaml").write_text(_yaml(line))
    return config


def _yaml(config: Mapping[str, Any]) -> str:
    """As a person would write it: aliases for equal tags would make checking look faster than it is."""

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    return yaml.dump(dict(config), Dumper=Plain, sort_keys=False)


async def _check(config: Path) -> float:
    """Seconds that ``pilot-gateway check`` takes, interpreter included."""
    begin = time.perf_counter()
    done = await run_to_end(*gateway_command("check", str(config)), deadline_s=60)
    if done.code != 0:
        raise ProcessFailed(f"pilot-gateway check refused the configuration:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - begin


async def first_values(subscriber: Process, gateway: Process) -> None:
    """Return when the first values have come; raise with what the gateway said when none will."""
    deadline = time.monotonic() + FIRST_S
    while not (subscriber.lines and subscriber.lines[-1].rpartition(" ")[2] not in ("0", "ready")):
        if gateway.returncode is not None or time.monotonic() > deadline:
            said = "\n".join(list(gateway.lines)[-40:])
            raise ProcessFailed(f"no value came; the gateway said:\n{said}")
        await asyncio.sleep(0.05)


METRICS = {
    "pilot_gateway_journal_accepted_readings_total": "accepted",
    "pilot_gateway_journal_commits_total": "commits",
    "pilot_gateway_link_overflows_total": "overflows",
}


async def gateway_metrics(port: int) -> dict[str, float]:
    """What the gateway itself says, as far as it says it."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    answer.raise_for_status()
    rows = (row.rpartition(" ") for row in answer.text.splitlines() if not row.startswith("#"))
    return {METRICS[name]: float(value) for name, _, value in rows if name in METRICS}


async def everything_arrives(subscriber: Process, gateway: Process, broker: Process) -> None:
    """Wait until nothing new comes, once nothing new is said."""
    deadline = time.monotonic() + DRAIN_S
    last, since = "", time.monotonic()
    while time.monotonic() - since < QUIET_S and time.monotonic() < deadline:
        if gateway.returncode is not None or broker.returncode is not None:
            raise ProcessFailed(f"the gateway or the broker ended during the measurement:\n{gateway.output[-3000:]}")
        newest = subscriber.lines[-1]
        if newest != last:
            last, since = newest, time.monotonic()
        await asyncio.sleep(0.1)
