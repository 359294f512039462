"""python -m tests.bench: how fast, how small and how complete the gateway is on a given work.

Examples:
    python -m tests.bench                                 the reference: 50 devices × 200 float32 at 10 Hz
    python -m tests.bench --scenario site-small start     two presets, one after the other
    python -m tests.bench --devices 10 --rate 1 --sinks mqtt
    python -m tests.bench opcua --tags 1000 --rate 10     an OPC UA server (node-opcua) instead of the Modbus devices
    python -m tests.bench micro                           the steps of the way of a value, one by one
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from tests.bench import micro, opcua, report
from tests.bench.harness import Result, measure
from tests.bench.scenario import PRESETS, SINKS, Scenario, changed
from tests.support.processes import ProcessFailed

RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("whole", "opcua", "micro"), default="whole")
    parser.add_argument("--scenario", nargs="+", choices=(*PRESETS, "all"), default=["reference"])
    parser.add_argument("--devices", type=int, help="how many, a link each")
    parser.add_argument("--tags", type=int, help="per device")
    parser.add_argument("--rate", type=float, dest="rate_hz", help="scans per second and device")
    parser.add_argument("--seconds", type=float, help="how long to measure")
    parser.add_argument("--sinks", type=_sinks, help=f"which of {','.join(SINKS)}")
    parser.add_argument("--record", action="store_true", help=f"append the figures to {RESULTS.name}")
    options = vars(parser.parse_args())
    what = options.pop("what")
    if what == "micro":
        micro.main()
        return
    if what == "opcua":
        items, rate_hz, seconds = options["tags"] or 1000, options["rate_hz"] or 10.0, options["seconds"] or 20.0
        with tempfile.TemporaryDirectory(prefix="pilot-bench-") as directory:
            print(asyncio.run(opcua.measure(items, 1 / rate_hz, seconds, Path(directory))))
        return
    keep, names = options.pop("record"), options.pop("scenario")
    scenarios = [changed(PRESETS[name], **options) for name in (PRESETS if "all" in names else names)]
    results = [_run(scenario) for scenario in scenarios]
    if keep:
        with RESULTS.open("a") as file:
            file.write("\n" + report.record(results))


def _run(scenario: Scenario) -> Result:
    print(f"measuring {scenario} for {scenario.seconds:g} s …", flush=True)
    with tempfile.TemporaryDirectory(prefix="pilot-bench-") as directory:
        try:
            result = asyncio.run(measure(scenario, Path(directory)))
        except ProcessFailed as error:
            raise SystemExit(f"not measured: {error}") from error
    print(report.table(result), end="\n\n", flush=True)
    return result


def _sinks(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(SINKS):
        raise argparse.ArgumentTypeError(f"no sink {', '.join(sorted(unknown))}; there are {', '.join(SINKS)}")
    if "mqtt" not in names:
        raise argparse.ArgumentTypeError("mqtt cannot be left out: its subscriber is how loss and latency are measured")
    return names


if __name__ == "__main__":
    main()
