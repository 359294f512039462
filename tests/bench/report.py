"""What is printed and recorded about measurements. Pure, but for the look at the machine."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.bench.harness import Result

LIBRARIES = ("pymodbus", "paho-mqtt", "influxdb-client", "orjson", "isal", "uvloop", "pydantic")
HEADER = (
    "scenario",
    "values/s",
    "µs/value",
    "turns",
    "core",
    "lost",
    "twice",
    "RSS MB",
    "period",
    "latency",
    "first s",
)


def table(result: Result) -> str:
    """Everything about one scenario, a line each."""
    used = result.used
    core = used.cpu_s / result.window_s
    main = used.main_thread_s / used.cpu_s * 100 if used.cpu_s else 0.0
    rows = [
        ("scenario", f"{result.scenario.name}: {result.scenario}"),
        ("values/s", f"{result.answered / result.window_s:,.0f} of {result.scenario.values_per_s:,.0f} asked for"),
        ("offered", f"{result.offered:,}"),
        ("accepted", _count(result.accepted) + f", {result.bad:,} of them bad, after the farm fell silent"),
        ("published", f"{result.published:,}"),
        ("stored", _count(result.stored)),
        ("lost / twice / gaps", f"{result.lost:,} / {result.twice:,} / {result.gaps:,}"),
        ("write requests", f"{result.writes}"),
        ("CPU per value", f"{result.us_per_value:.2f} µs = {result.turns_per_value:.1f} turns of the calibration loop"),
        ("CPU", f"{core:.3f} core: user {used.user_s:.2f} s, system {used.system_s:.2f} s, main thread {main:.0f} %"),
        ("memory", f"{used.rss_mb:.0f} MB, at most {result.peak_rss_mb:.0f} MB"),
        ("written to disk", f"{used.written_mb / result.window_s:.2f} MB/s"),
        ("commits/s", "not told" if result.commits is None else f"{result.commits:.1f}"),
        ("period p1/p50/p99", _join(result.period_ms) + f" ms, worst device's p99 {result.period_worst_ms:.1f} ms"),
        ("latency p50/p99", _join(result.latency_ms) + " ms from the instrument to the subscriber"),
        (
            "first value",
            f"{result.first_value_s:.2f} s after the start; of the last device {result.all_values_s:.2f} s",
        ),
        ("check", f"{result.check_s:.2f} s for {result.scenario.devices * result.scenario.tags:,} tags"),
        ("calibration", f"{result.calibration_ns:.0f} ns a turn"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def record(results: Sequence[Result]) -> str:
    """A section for RESULTS.md: what was measured where, without anything that names this machine's owner."""
    lines = [
        f"## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "",
        f"{_cpu()}, Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "",
        "| " + " | ".join(HEADER) + " |",
        "|" + "---|" * len(HEADER),
    ]
    for result in results:
        cells = (
            f"{result.scenario.name}: {result.scenario}",
            f"{result.answered / result.window_s:,.0f}",
            f"{result.us_per_value:.2f}",
            f"{result.turns_per_value:.1f}",
            f"{result.used.cpu_s / result.window_s:.3f}",
            f"{result.lost:,}",
            f"{result.twice:,}",
            f"{result.used.rss_mb:.0f}",
            _join(result.period_ms),
            _join(result.latency_ms),
            f"{result.first_value_s:.2f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _count(value: int | None) -> str:
    return "not told" if value is None else f"{value:,}"


def _join(values: Sequence[float]) -> str:
    return "/".join(f"{value:.1f}" for value in values)


def _cpu() -> str:
    """Model and number of the processors."""
    models = [
        row.partition(":")[2].strip()
        for row in Path("/proc/cpuinfo").read_text().splitlines()
        if row.startswith("model name")
    ]
    return f"{len(models)} × {models[0]}" if models else platform.machine()
