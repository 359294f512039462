"""The simulated plant: plausible, coupled, bounded, and the same each time."""

from __future__ import annotations

from itertools import pairwise
from math import isclose, isfinite, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Device, Kind, Tag
from gateway.plant import Plant


def _tag(
    name: str, unit: str = "1", kind: Kind = Kind.FLOAT, low: float | None = None, high: float | None = None
) -> Tag:
    return Tag(name, kind, None, unit=unit, low=low, high=high)


METER = Device(
    "wuxi",
    "pl1",
    "meter",
    (
        *(_tag(f"voltage_l{i}", "V", low=0, high=300) for i in (1, 2, 3)),
        *(_tag(f"current_l{i}", "A", low=0, high=100) for i in (1, 2, 3)),
        _tag("active_power", "W", low=0, high=50_000),
        _tag("apparent_power", "V.A"),
        _tag("reactive_power", "var"),
        _tag("power_factor", "1", low=-1, high=1),
        _tag("frequency", "Hz", low=45, high=55),
        _tag("import_energy", "kW.h", low=0),
        _tag("export_energy", "kW.h", low=0),
    ),
)
JACKET = Device(
    "wuxi",
    "pl1",
    "jacket",
    (
        _tag("process_value", "Cel", low=0, high=250),
        _tag("target_setpoint", "Cel", low=0, high=250),
        _tag("working_setpoint", "Cel", low=0, high=250),
        _tag("working_output", "%", low=-100, high=100),
    ),
)
REACTOR = Device(
    "wuxi",
    "pl1",
    "reactor",
    (
        _tag("process_value", "Cel", low=0, high=250),
        _tag("target_setpoint", "Cel", low=0, high=250),
        _tag("working_setpoint", "Cel", low=0, high=250),
    ),
)
FEED = Device(
    "wuxi",
    "pl1",
    "feed",
    (_tag("mass_flow", "kg/s"), _tag("volume_flow", "L/min"), _tag("density", "kg/m3", low=500, high=1500)),
)
PLC = Device(
    "wuxi",
    "pl1",
    "plc",
    (
        _tag("pressure", "bar", low=0, high=10),
        _tag("stirrer_speed", "r/min", low=0, high=1000),
        _tag("stirrer_torque", "N.m", low=0, high=20),
        _tag("phase", kind=Kind.TEXT),
        _tag("step", kind=Kind.INT, low=0, high=9),
        _tag("stirrer_on", kind=Kind.BOOL),
        _tag("odd", "mol/L"),
    ),
)
SKID = (METER, JACKET, REACTOR, FEED, PLC)
HOUR = 3600

STEPS = st.lists(st.floats(0.01, 120), min_size=1, max_size=40)


@given(steps=STEPS, seed=st.integers(0, 2**32))
def test_energy_never_decreases_and_is_the_integral_of_power(steps: list[float], seed: int) -> None:
    plant = Plant(SKID, seed)
    before = None
    for dt_s in steps:
        meter = plant.step(dt_s)["meter"]
        energy, power = meter["import_energy"], meter["active_power"]
        assert isinstance(energy, float)
        assert isinstance(power, float)
        if before is not None:
            assert energy >= before
            assert isclose((energy - before) * 3.6e6, power * dt_s, rel_tol=1e-6, abs_tol=1e-2)
        before = energy


@st.composite
def _any_tag(draw: st.DrawFn) -> Tag:
    """Any name, unit, kind and range: what other lines may hold."""
    words = st.sampled_from(
        ["temperature", "phase", "jacket", "energy", "valve", "feed", "alarm", "x", "set_point", "l1"]
    )
    unit = draw(
        st.sampled_from(["Cel", "%", "bar", "W", "kW.h", "kg/s", "m3/h", "1", "[pH]", "r/min", "A", "mol/L", "kg"])
    )
    low = draw(st.none() | st.floats(-1e6, 1e6))
    high = None if low is None else draw(st.none() | st.floats(min_value=low + 2, max_value=low + 1e6))
    name = "_".join(draw(st.lists(words, min_size=1, max_size=3)))
    return _tag(name, unit, draw(st.sampled_from(Kind)), low, high)


@given(tags=st.lists(_any_tag(), min_size=1, max_size=8), device=st.sampled_from(["jacket", "meter", "x"]), steps=STEPS)
def test_every_value_is_finite_in_range_and_of_its_kind(tags: list[Tag], device: str, steps: list[float]) -> None:
    kinds = {Kind.FLOAT: float, Kind.INT: int, Kind.BOOL: bool, Kind.TEXT: str}
    plant = Plant([Device("s", "l", device, tuple(tags))])
    for dt_s in steps[:10]:
        values = plant.step(dt_s)[device]
        for tag in {tag.name: tag for tag in tags}.values():  # the last one of a name is the one that is shown
            value = values[tag.name]
            assert type(value) is kinds[tag.kind]
            if isinstance(value, float):
                assert isfinite(value)
            if type(value) in (float, int):
                assert isinstance(value, (float, int))
                slack = 1 if tag.kind is Kind.INT else 0  # a range of fractions, a value of wholes
                assert tag.low is None or value >= tag.low - slack
                assert tag.high is None or value <= tag.high + slack


def test_the_same_seed_gives_the_same_plant() -> None:
    first, second, other = Plant(SKID, 7), Plant(SKID, 7), Plant(SKID, 8)
    for _ in range(50):
        values = first.step(0.2)
        assert values == second.step(0.2)
        others = other.step(0.2)
    assert values != others


def test_the_jacket_heats_the_reactor_with_a_lag_and_pressure_follows() -> None:
    plant = Plant(SKID)
    start = plant.step(1)
    seen = [plant.step(10) for _ in range(60)]
    assert {values["plc"]["phase"] for values in seen} == {"heat"}
    jacket = [_number(values["jacket"]["process_value"]) for values in seen]
    reactor = [_number(values["reactor"]["process_value"]) for values in seen]
    assert all(hot > warm for hot, warm in zip(jacket, reactor, strict=True))
    assert reactor[-1] > _number(start["reactor"]["process_value"]) + 30
    assert all(later > earlier - 0.2 for earlier, later in pairwise(reactor))
    assert _number(seen[-1]["plc"]["pressure"]) > _number(start["plc"]["pressure"]) + 0.2


def test_the_recipe_goes_through_its_phases() -> None:
    plant = Plant(SKID)
    phases: list[tuple[object, object]] = []
    for _ in range(HOUR // 10):
        plc = plant.step(10)["plc"]
        if not phases or phases[-1] != (plc["phase"], plc["step"]):
            phases.append((plc["phase"], plc["step"]))
    assert phases == [("heat", 1), ("hold", 2), ("cool", 3), ("heat", 1)]


def test_the_reactor_holds_its_temperature() -> None:
    plant = Plant(SKID)
    held = []
    for _ in range(2000 // 10):
        values = plant.step(10)
        if values["plc"]["phase"] == "hold":
            held.append(_number(values["reactor"]["process_value"]))
    assert held
    assert all(78 < temperature < 82 for temperature in held[5:])


def test_the_meter_agrees_with_itself() -> None:
    plant = Plant(SKID)
    for _ in range(100):
        meter = {name: _number(value) for name, value in plant.step(5)["meter"].items()}
        phases = sum(meter[f"voltage_l{i}"] * meter[f"current_l{i}"] * meter["power_factor"] for i in (1, 2, 3))
        assert isclose(phases, meter["active_power"], rel_tol=1e-9)
        assert isclose(sqrt(meter["active_power"] ** 2 + meter["reactive_power"] ** 2), meter["apparent_power"])
        assert meter["export_energy"] == 0


def test_volume_flow_is_mass_flow_over_density() -> None:
    plant = Plant(SKID)
    for _ in range(20):
        feed = {name: _number(value) for name, value in plant.step(1)["feed"].items()}
        assert isclose(feed["volume_flow"] / 60_000, feed["mass_flow"] / feed["density"])
    assert feed["mass_flow"] > 0.02


def test_a_warm_charge_is_easier_to_stir() -> None:
    plant = Plant(SKID)
    plant.step(30)
    cold = _number(plant.step(1)["plc"]["stirrer_torque"])
    plant.step(500)
    assert _number(plant.step(1)["plc"]["stirrer_torque"]) < cold


def test_a_tag_nobody_knows_moves_within_its_range() -> None:
    plant = Plant(SKID)
    seen = [_number(plant.step(5)["plc"]["odd"]) for _ in range(200)]
    assert 0 <= min(seen) < 45
    assert 55 < max(seen) <= 100


@pytest.mark.parametrize("dt_s", [0, -1, float("nan"), float("inf"), 1e6])
def test_time_only_goes_forward(dt_s: float) -> None:
    with pytest.raises(ValueError, match="a step takes"):
        Plant(SKID).step(dt_s)


def _number(value: object) -> float:
    assert isinstance(value, (float, int))
    return float(value)


def test_texts_say_the_words_of_their_tag() -> None:
    """Whatever they are called: a text named phase with words of its own is not the phase of the recipe."""
    words: dict[str, set[str]] = {
        "phase": {"idle", "run", "fault"}, "alarms": {"", "hot", "door open"}, "serial": {"lo", "ok", "hi"},
    }  # fmt: skip
    tags = (
        Tag("phase", Kind.TEXT, None, enum={0: "idle", 1: "run", 7: "fault"}),
        Tag("alarms", Kind.TEXT, None, bits={0: "hot", 4: "door open"}),
        Tag("serial", Kind.TEXT, None),
    )
    plant = Plant([Device("s", "l", "d", tags)])
    seen: dict[str, set[str]] = {name: set() for name in words}
    for _ in range(400):
        for name, value in plant.step(10.0)["d"].items():
            seen[name].add(str(value))
    assert seen == words
