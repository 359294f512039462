"""A simulated pilot plant: what the instruments of a line would measure. Pure and deterministic.

In: the devices of a line, a seed, and how much time passes. Out: engineering values by device and tag, which
``pilot-gateway simulate`` hands to the simulators.

A batch reactor runs through heat, hold and cool for ever: the jacket heats it with a lag and loses heat, the stirrer's
torque follows the viscosity, pressure follows temperature, power is heater + stirrer + base load, energy its
integral. A tag that measures one of these (recognised by its name and unit) shows it; every other tag gets a slow wave
with some noise inside its range.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp, hypot, isfinite, pi, sin, sqrt
from random import Random
from zlib import crc32

from gateway.core.model import Device, Kind, Tag, Value

Measure = Callable[["Reactor"], float | str]

SUBSTEP_S = 0.5  # the fastest lag of the model is about 20 s
PHASES = (("heat", 80.0, 900.0), ("hold", 80.0, 1200.0), ("cool", 30.0, 900.0))  # name, setpoint Cel, seconds
AMBIENT, COOLANT = 22.0, 12.0  # Cel
JACKET_J_K, REACTOR_J_K = 15_000.0, 60_000.0
TRANSFER_W_K, JACKET_LOSS_W_K, REACTOR_LOSS_W_K, COOLING_W_K = 250.0, 8.0, 4.0, 220.0
HEATER_W, BASE_W = 9_000.0, 350.0
POWER_FACTOR = 0.94
RAMP_CEL_MIN = 5.0
PHASE_SHARES = (0.36, 0.33, 0.31)  # of the power, on L1, L2, L3
LONGEST_STEP_S = 86_400.0


@dataclass
class Reactor:
    """The state of the process. Temperatures in Cel, powers in W, energies in kW.h."""

    random: Random
    jacket: float = 24.0
    reactor: float = 23.0
    phase_number: int = 0
    phase_s: float = 0.0  # time spent in the phase
    working_setpoint: float = 23.0
    jacket_setpoint: float = 24.0
    output: float = 0.0  # of the jacket's controller, -100 (cooling) … 100 (heating) %
    conversion: float = 0.0  # of the reaction, 0 … 1
    stirrer_speed: float = 0.0  # r/min
    mass_flow: float = 0.0  # kg/s
    fed: float = 0.0  # kg since the start of the batch
    voltages: list[float] = field(default_factory=lambda: [230.4, 231.1, 229.7])
    frequency: float = 50.0
    base: float = BASE_W
    power: float = BASE_W  # mean over the last step, so that energy is exactly its integral
    energy: float = 1_234.5
    batches: int = 0

    def step(self, dt_s: float) -> None:
        """Let ``dt_s`` pass."""
        self._wander()
        parts = max(1, round(dt_s / SUBSTEP_S))
        joule = sum(self._substep(dt_s / parts) for _ in range(parts))
        self.power = joule / dt_s
        self.energy += joule / 3.6e6

    @property
    def phase(self) -> str:
        return PHASES[self.phase_number][0]

    @property
    def target(self) -> float:
        return PHASES[self.phase_number][1]

    @property
    def stirrer_setpoint(self) -> float:
        """r/min"""
        return {"heat": 200.0, "hold": 280.0, "cool": 150.0}[self.phase]

    @property
    def viscosity(self) -> float:
        """Pa.s: thinner when warm, thicker as the reaction goes on."""
        return 0.05 * exp(-0.02 * (self.reactor - 25)) * (1 + 6 * self.conversion)

    @property
    def torque(self) -> float:
        """N.m."""
        return 0.05 + 0.12 * self.viscosity / 0.05 * self.stirrer_speed / 250

    @property
    def stirrer_power(self) -> float:
        return 2 * pi * self.stirrer_speed / 60 * self.torque / 0.7

    @property
    def heater_power(self) -> float:
        return HEATER_W * max(0.0, self.output) / 100

    @property
    def pressure(self) -> float:
        """bar, absolute: the gas above the contents, and their vapour (Antoine equation of water)."""
        vapour_mmhg = 10 ** (8.07131 - 1730.63 / (233.426 + self.reactor))
        return 1.013 * (self.reactor + 273.15) / 298.15 + vapour_mmhg * 0.001_333_22

    @property
    def density(self) -> float:
        """kg/m3, of the feed."""
        return 1_012.0 - 0.35 * (self.jacket * 0.1 + AMBIENT * 0.9 - 20)

    @property
    def level(self) -> float:
        """%"""
        return min(95.0, 40 + 40 * self.fed / 30)

    def phase_power(self, i: int) -> float:
        return self.power * PHASE_SHARES[i]

    def current(self, i: int) -> float:
        return self.phase_power(i) / (self.voltages[i] * POWER_FACTOR)

    @property
    def apparent_power(self) -> float:
        return self.power / POWER_FACTOR

    @property
    def reactive_power(self) -> float:
        return sqrt(self.apparent_power**2 - self.power**2)

    def noise(self, width: float) -> float:
        """What a transmitter adds."""
        return self.random.uniform(-width, width)

    def _wander(self) -> None:
        self.voltages = [v + 0.05 * (230.5 - v) + self.noise(0.4) for v in self.voltages]
        self.frequency += 0.05 * (50 - self.frequency) + self.noise(0.004)
        self.base += 0.05 * (BASE_W - self.base) + self.noise(6)

    def _substep(self, dt_s: float) -> float:
        """Moves the state on and returns the electrical work in J."""
        self._recipe(dt_s)
        self._control(dt_s)
        joule = (self.heater_power + self.stirrer_power + self.base) * dt_s
        transfer = TRANSFER_W_K * (self.jacket - self.reactor)
        cooling = COOLING_W_K * max(0.0, -self.output) / 100 * (self.jacket - COOLANT)
        jacket_w = self.heater_power - cooling - transfer - JACKET_LOSS_W_K * (self.jacket - AMBIENT)
        reactor_w = transfer + self.stirrer_power - REACTOR_LOSS_W_K * (self.reactor - AMBIENT)
        self.jacket += jacket_w / JACKET_J_K * dt_s
        self.reactor += reactor_w / REACTOR_J_K * dt_s
        return joule

    def _recipe(self, dt_s: float) -> None:
        self.phase_s += dt_s
        if self.phase_s >= PHASES[self.phase_number][2]:
            self.phase_s = 0.0
            self.phase_number = (self.phase_number + 1) % len(PHASES)
            if self.phase_number == 0:
                self.conversion = self.fed = 0.0
                self.batches += 1
        hot = max(0.0, self.reactor - 50) / 30
        self.conversion += (1 - self.conversion) * hot * dt_s / 900
        flow = {"heat": 0.030, "hold": 0.005, "cool": 0.0}[self.phase]
        self.stirrer_speed += (self.stirrer_setpoint - self.stirrer_speed) * min(1.0, dt_s / 5)
        self.mass_flow += (flow - self.mass_flow) * min(1.0, dt_s / 3)
        self.fed += self.mass_flow * dt_s

    def _control(self, dt_s: float) -> None:
        """A cascade: the reactor's controller asks for a jacket temperature, the jacket's moves heater and valve."""
        ramp = RAMP_CEL_MIN / 60 * dt_s
        self.working_setpoint += max(-ramp, min(ramp, self.target - self.working_setpoint))
        self.jacket_setpoint = max(
            15.0, min(150.0, self.working_setpoint + 4 * (self.working_setpoint - self.reactor) + 3)
        )
        self.output = max(-100.0, min(100.0, 8 * (self.jacket_setpoint - self.jacket)))


class Plant:
    """What every tag of a line measures, as time passes."""

    def __init__(self, devices: Sequence[Device], seed: int = 1) -> None:
        self.reactor = Reactor(Random(seed))  # noqa: S311 - noise, not a secret
        self.time_s = 0.0
        self._tags = {
            device.id: [(tag, _measure(device, tag), _Wave(device, tag, seed)) for tag in device.tags]
            for device in devices
        }

    def step(self, dt_s: float) -> dict[str, dict[str, Value]]:
        """Let ``dt_s`` pass (more than 0, at most a day) and return engineering values by device id and tag name.

        They are finite and within the range of their tag. Power is the mean over the step.
        """
        if not 0 < dt_s <= LONGEST_STEP_S:
            raise ValueError(f"a step takes more than 0 and at most {LONGEST_STEP_S:.0f} s, not {dt_s}")
        self.reactor.step(dt_s)
        self.time_s += dt_s
        return {
            device: {
                tag.name: _fitted(tag, measure(self.reactor) if measure else wave(self.time_s))
                for tag, measure, wave in tags
            }
            for device, tags in self._tags.items()
        }


# -------------------------------------------------------------------------------------- which tag shows what

FACTORS = {
    "W": 1.0, "kW": 1e-3, "MW": 1e-6, "V.A": 1.0, "kV.A": 1e-3, "var": 1.0, "kvar": 1e-3,
    "kW.h": 1.0, "W.h": 1e3, "MW.h": 1e-3, "V": 1.0, "A": 1.0, "mA": 1e3, "Hz": 1.0,
    "bar": 1.0, "mbar": 1e3, "kPa": 100.0, "MPa": 0.1, "Pa": 1e5,
    "kg/s": 1.0, "g/s": 1e3, "kg/min": 60.0, "kg/h": 3600.0,
    "m3/s": 1.0, "m3/h": 3600.0, "L/s": 1e3, "L/min": 6e4, "L/h": 3.6e6, "mL/min": 6e7,
    "kg/m3": 1.0, "kg/L": 1e-3, "g/cm3": 1e-3, "g/mL": 1e-3,
    "kg": 1.0, "g": 1e3, "N.m": 1.0, "N.cm": 100.0, "Pa.s": 1.0, "mPa.s": 1e3,
    "r/min": 1.0, "{rpm}": 1.0, "/min": 1.0, "1/min": 1.0, "Cel": 1.0, "%": 1.0, "1": 1.0, "s": 1.0, "min": 1 / 60,
}  # fmt: skip
"""Per UCUM code: how many of it make one of what the model counts in (W, kW.h, bar, kg/s, m3/s, kg/m3, …)."""

POWERS, ENERGIES = frozenset({"W", "kW", "MW"}), frozenset({"W.h", "kW.h", "MW.h"})
MASS_FLOWS = frozenset({"kg/s", "g/s", "kg/min", "kg/h"})
VOLUME_FLOWS = frozenset({"m3/s", "m3/h", "L/s", "L/min", "L/h", "mL/min"})
DENSITIES = frozenset({"kg/m3", "kg/L", "g/cm3", "g/mL"})
PRESSURES, TURNS = frozenset({"bar", "mbar", "kPa", "MPa", "Pa"}), frozenset({"r/min", "{rpm}", "/min", "1/min"})
CEL, PERCENT, RAMPS = frozenset({"Cel"}), frozenset({"%"}), frozenset({"Cel/min"})

# the first row whose words are in "device.tag" and whose units hold that of the tag decides; no units: any
RULES: tuple[tuple[str, frozenset[str], Measure], ...] = (
    (r"export", ENERGIES, lambda r: 0.0),
    (r"", ENERGIES, lambda r: r.energy),
    (r"stir|agitat", POWERS, lambda r: r.stirrer_power),
    (r"heater", POWERS, lambda r: r.heater_power),
    (r"(_|\b)l1\b", POWERS, lambda r: r.phase_power(0)),
    (r"(_|\b)l2\b", POWERS, lambda r: r.phase_power(1)),
    (r"(_|\b)l3\b", POWERS, lambda r: r.phase_power(2)),
    (r"", POWERS, lambda r: r.power),
    (r"", frozenset({"V.A", "kV.A"}), lambda r: r.apparent_power),
    (r"", frozenset({"var", "kvar"}), lambda r: r.reactive_power),
    (r"power_factor|(_|\b)pf(_|\b)|cos_?phi", frozenset({"1"}), lambda r: POWER_FACTOR),
    (r"freq", frozenset({"Hz"}), lambda r: r.frequency),
    (r"l1_?l2", frozenset({"V"}), lambda r: hypot(r.voltages[0], r.voltages[1]) * sqrt(1.5)),
    (r"l2_?l3", frozenset({"V"}), lambda r: hypot(r.voltages[1], r.voltages[2]) * sqrt(1.5)),
    (r"l3_?l1", frozenset({"V"}), lambda r: hypot(r.voltages[2], r.voltages[0]) * sqrt(1.5)),
    (r"l2", frozenset({"V"}), lambda r: r.voltages[1]),
    (r"l3", frozenset({"V"}), lambda r: r.voltages[2]),
    (r"", frozenset({"V"}), lambda r: r.voltages[0]),
    (r"neutral|(_|\b)n\b", frozenset({"A"}), lambda r: 0.05 * r.current(0)),
    (r"l2", frozenset({"A"}), lambda r: r.current(1)),
    (r"l3", frozenset({"A"}), lambda r: r.current(2)),
    (r"", frozenset({"A", "mA"}), lambda r: r.current(0)),
    (r"", MASS_FLOWS, lambda r: r.mass_flow),
    (r"", VOLUME_FLOWS, lambda r: r.mass_flow / r.density),
    (r"", DENSITIES, lambda r: r.density),
    (r"fed|dos|total", frozenset({"kg", "g"}), lambda r: r.fed),
    (r"", PRESSURES, lambda r: r.pressure + r.noise(0.002)),
    (r"torque", frozenset({"N.m", "N.cm"}), lambda r: r.torque + r.noise(0.002)),
    (r"visc", frozenset({"Pa.s", "mPa.s"}), lambda r: r.viscosity),
    (r"set|(_|\b)sp\b", TURNS, lambda r: r.stirrer_setpoint),
    (r"", TURNS, lambda r: max(0.0, r.stirrer_speed + r.noise(0.6))),
    (r"", RAMPS, lambda r: RAMP_CEL_MIN),
    (r"jacket\.(error|deviation)", frozenset(), lambda r: r.jacket_setpoint - r.jacket),
    (r"jacket.*set_?point_?(select|2)", frozenset(), lambda r: 0.0),
    (r"jacket.*(set_?point|(_|\b)sp(_|\b))", frozenset(), lambda r: r.jacket_setpoint),
    (r"jacket.*output", frozenset(), lambda r: r.output),
    (r"jacket.*(temp|process_value|(_|\b)pv(_|\b))", frozenset(), lambda r: r.jacket + r.noise(0.05)),
    (r"cool.*valve|valve.*cool", PERCENT, lambda r: max(0.0, -r.output)),
    (r"(heat|steam).*valve|valve.*(heat|steam)", PERCENT, lambda r: max(0.0, r.output)),
    (r"(feed|dos|inlet).*valve|valve.*(feed|dos|inlet)", PERCENT, lambda r: r.mass_flow / 0.03 * 80),
    (r"level", PERCENT, lambda r: r.level),
    (r"conver", frozenset({"%"}), lambda r: 100 * r.conversion),
    (r"ambient|room", CEL, lambda r: AMBIENT + r.noise(0.05)),
    (r"coolant|cooling_water", CEL, lambda r: COOLANT + r.noise(0.05)),
    (r"feed|dos", CEL, lambda r: AMBIENT + r.noise(0.05)),
    (r"\.(error|deviation)$", CEL, lambda r: r.working_setpoint - r.reactor),
    (r"set_?point_?select", frozenset(), lambda r: 0.0),
    (r"set_?point_?2", frozenset(), lambda r: PHASES[-1][1]),
    (r"target|set_?point_?1", CEL, lambda r: r.target),
    (r"set_?point|(_|\b)w?sp\b", CEL, lambda r: r.working_setpoint),
    (r"output", PERCENT, lambda r: max(0.0, min(100.0, 20 * (r.working_setpoint - r.reactor)))),
    (r"temp|process_value|(_|\b)pv\b", CEL, lambda r: r.reactor + r.noise(0.03)),
    (r"phase.*(time|elapsed)|elapsed|runtime", frozenset({"s", "min"}), lambda r: r.phase_s),
    (r"phase|step_name", frozenset(), lambda r: r.phase),
    (r"step", frozenset(), lambda r: r.phase_number + 1),
    (r"batch_?(count|number)|batches", frozenset(), lambda r: r.batches),
    (r"alarm|fault|trip|interlock|error", frozenset(), lambda r: 0.0),
    (r"stir|agitat", frozenset(), lambda r: r.stirrer_speed > 1),
    (r"pump|feed|dos", frozenset(), lambda r: r.mass_flow > 0.001),
    (r"heat", frozenset(), lambda r: r.output > 0),
    (r"cool", frozenset(), lambda r: r.output < 0),
    (r"run", frozenset(), lambda r: 1.0),
)  # fmt: skip


def _measure(device: Device, tag: Tag) -> Measure | None:
    """What the tag shows of the reactor; None: nothing."""
    if tag.kind is Kind.TEXT and (tag.enum or tag.bits):
        return None  # it has words of its own
    name = f"{device.id}.{tag.name}"
    sample = Reactor(Random(0))  # noqa: S311
    for words, units, measure in RULES:
        if (not units or tag.unit in units) and re.search(words, name):
            # numbers of the process say nothing to a text, and its words nothing to a number
            if (tag.kind is Kind.TEXT) != isinstance(measure(sample), str):
                continue
            factor = FACTORS.get(tag.unit, 1.0)
            return measure if factor == 1 or tag.kind is Kind.TEXT else _scaled(measure, factor)
    return None


def _scaled(measure: Measure, factor: float) -> Measure:
    return lambda reactor: float(measure(reactor)) * factor


class _Wave:
    """A slow wave with some noise, for tags that show nothing of the reactor."""

    def __init__(self, device: Device, tag: Tag, seed: int) -> None:
        self._random = Random(seed ^ crc32(f"{device.id}.{tag.name}".encode()))  # noqa: S311
        low, high = _limits(tag)
        self._middle, self._width = low / 2 + high / 2, (high / 2 - low / 2) * 0.6
        self._period_s = self._random.uniform(30, 300)
        self._start = self._random.uniform(0, 2 * pi)
        self._words = _words(tag) if tag.kind is Kind.TEXT else ()
        self._bool = tag.kind is Kind.BOOL

    def __call__(self, time_s: float) -> float | str:
        wave = sin(2 * pi * time_s / self._period_s + self._start)
        if self._words:
            return self._words[min(int((wave + 1) / 2 * len(self._words)), len(self._words) - 1)]
        if self._bool:
            return wave > 0
        return self._middle + self._width * (wave + self._random.uniform(-0.05, 0.05))


def _words(tag: Tag) -> tuple[str, ...]:
    """What a text says, one after the other; short enough for every string."""
    if tag.bits:
        return "", *tag.bits.values()
    return tuple(tag.enum.values()) or ("lo", "ok", "hi")


def _limits(tag: Tag) -> tuple[float, float]:
    low, high = tag.low, tag.high
    if low is None:
        low = 0.0 if high is None or high > 0 else high - 100
    if high is None:
        high = low + 100
    return low, high


def _fitted(tag: Tag, value: float | str) -> Value:
    """The value in the kind and the range of its tag."""
    if isinstance(value, str) or tag.kind is Kind.TEXT:
        return str(value)
    if tag.kind is Kind.BOOL:
        return value > 0
    if not isfinite(value):
        raise ArithmeticError(f"the simulated plant left the numbers at {tag.name}: {value}")
    low = tag.low if tag.low is not None else -1e300
    high = tag.high if tag.high is not None else 1e300
    if tag.kind is Kind.INT:
        return round(max(low, min(high, round(value))))
    return float(max(low, min(high, value)))
