"""The protocols this gateway speaks. This is the one place where one is registered.

A protocol is one folder with the same files as every other: ``options.py`` (what a technician may write), ``plan.py``
and ``decode.py`` (pure), ``driver.py`` (I/O), ``simulator.py`` and ``README.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from drivers.modbus.options import LINKS as MODBUS_LINKS
from drivers.modbus.options import ModbusTemplate
from drivers.opcua.options import OpcUa, OpcUaTemplate
from gateway.core.clock import Clock
from gateway.core.contracts import Driver, PlanRow, Simulator
from gateway.core.model import Link
from gateway.core.options import LinkOptions, TemplateOptions


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol: its vocabulary, and where its code is. The code is imported only where a line uses it."""

    name: str  # what a template says in ``protocol``
    links: Mapping[str, type[LinkOptions]]  # what a link says in ``type``
    template: type[TemplateOptions]
    driver: str  # module:class
    simulator: str  # module:class
    plan: str  # module:function
    advice: str = ""  # module:function; empty: it has none to give

    def make_driver(self, link: Link, clock: Clock) -> Driver:
        """A driver for the link; no I/O yet."""
        driver: Driver = _load(self.driver)(link, clock)
        return driver

    def make_simulator(self, link: Link) -> Simulator:
        """A simulator that plays the devices of the link; not listening yet."""
        simulator: Simulator = _load(self.simulator)(link)
        return simulator

    def plan_of(self, link: Link) -> Sequence[PlanRow]:
        """The requests that the link will make; pure."""
        rows: Sequence[PlanRow] = _load(self.plan)(link)
        return rows

    def advice_on(self, link: Link) -> Sequence[str]:
        """What is allowed but is nearly always a slip, a sentence each; pure."""
        return tuple(_load(self.advice)(link)) if self.advice else ()


PROTOCOLS = (
    Protocol(
        name="modbus",
        links=MODBUS_LINKS,
        template=ModbusTemplate,
        driver="drivers.modbus.driver:ModbusDriver",
        simulator="drivers.modbus.simulator:ModbusSimulator",
        plan="drivers.modbus.plan:describe",
        advice="drivers.modbus.advice:advise",
    ),
    Protocol(
        name="opcua",
        links={"opcua": OpcUa},
        template=OpcUaTemplate,
        driver="drivers.opcua.driver:OpcUaDriver",
        simulator="drivers.opcua.simulator:OpcUaSimulator",
        plan="drivers.opcua.plan:describe",
    ),
)

DRIVERS: Mapping[str, Protocol] = {link_type: protocol for protocol in PROTOCOLS for link_type in protocol.links}
"""Link type → protocol."""


def _load(reference: str) -> Any:
    module, name = reference.split(":")
    return getattr(import_module(module), name)
