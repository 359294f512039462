"""The OPC UA driver keeps the contract of drivers, both when it subscribes and when it polls."""

from __future__ import annotations

from collections.abc import Mapping

from drivers.opcua.driver import OpcUaDriver
from gateway.core.clock import Clock, SystemClock
from gateway.core.contracts import Driver, Simulator
from gateway.core.model import Link, Value
from tests.contract.driver import DriverContract, one_scan_of_each
from tests.support.opcua_lines import PLANT, SPARE, Tags, make_link
from tests.support.opcua_simulator import QuickSimulator

DEVICES: Mapping[str, Tags] = {
    "reactor": [
        {"name": "pressure", "node": f"nsu={PLANT};s=Reactor.Pressure", "unit": "bar"},
        {"name": "speed", "node": f"nsu={PLANT};i=17", "unit": "r/min", "kind": "int"},
        {"name": "running", "node": f"nsu={SPARE};s=Running", "kind": "bool", "period_s": 0.1},
        {"name": "level", "node": f"/[{PLANT}]Reactor/[{SPARE}]Level &[m&]", "unit": "m"},
        {"name": "phase", "node": f"nsu={PLANT};g=09087e75-8e5e-499b-954f-f2a9603db28a", "kind": "text"},
    ],
    "feed": [
        {"name": "valve", "node": f"nsu={PLANT};s=Feed.Valve", "unit": "%", "scale": 0.1, "offset": 5},
        {"name": "mass", "node": f"nsu={SPARE};b=YWJj", "unit": "kg"},
        {"name": "zone_1", "node": f"nsu={PLANT};s=Zones", "element": 0, "unit": "Cel"},
        {"name": "zone_3", "node": f"nsu={PLANT};s=Zones", "element": 2, "unit": "Cel"},
    ],
}


class OpcUaContract(DriverContract):
    """What both ways of acquisition share."""

    first: Mapping[str, Mapping[str, Value]] = {
        "reactor": {"pressure": 1.25, "speed": -300, "running": True, "level": 1.5, "phase": "heat, 加热"},
        "feed": {"valve": 42.5, "mass": 1e9, "zone_1": 80.5, "zone_3": 81.5},
    }
    second: Mapping[str, Mapping[str, Value]] = {
        "reactor": {"pressure": -0.5, "speed": 2**62, "running": False, "level": 2.5, "phase": "cool"},
        "feed": {"valve": 5.0, "mass": 0.125, "zone_1": 90.5, "zone_3": -4.0},
    }

    def make_driver(self, link: Link, clock: Clock) -> Driver:
        return OpcUaDriver(link, clock)

    def make_simulator(self, link: Link) -> Simulator:
        return QuickSimulator(link)


class TestSubscribed(OpcUaContract):
    def make_link(self, port: int) -> Link:
        return make_link(port, DEVICES, timeout_s=3)


class TestPolled(OpcUaContract):
    def make_link(self, port: int) -> Link:
        return make_link(port, DEVICES, modes={"reactor": "poll", "feed": "poll"}, timeout_s=3)

    async def test_scans_are_well_formed(self, driver: Driver) -> None:
        """As everywhere, but for the time: a polled value was true since the source said so, not since we asked."""
        scans = await one_scan_of_each(driver)
        assert scans
        for group, scan in scans:
            assert (scan.device, scan.index) == (group.device, group.index)
            assert scan.time_ns <= scan.received_ns <= SystemClock().time_ns()
            self._check_values(scan)
