"""Templates of one family: one says the differences to another."""

from __future__ import annotations

from gateway.core.model import Device
from tests.support.config import Folder

CHILD = """\
protocol: modbus
extends: acme-m1
model: M2
source: another test
verified: none
word_order: little
limits: {max_registers: 40}
without: [energy]
tags:
  - {name: voltage, register: 10, range: [0, 600]}
  - {name: power, register: 12, type: float32, unit: W}
"""


def device(folder: Folder, child: str = CHILD, text: str = "{id: d, template: acme-m2}") -> Device:
    folder.write("templates/acme-m2.yaml", child)
    folder.device(text)
    (found,) = folder.load().devices
    return found


def mistakes(folder: Folder, child: str) -> list[str]:
    folder.write("templates/acme-m2.yaml", child)
    folder.device("{id: d, template: acme-m2}")
    return folder.mistakes()


def test_tags_are_overridden_added_and_left_out(folder: Folder) -> None:
    found = device(folder)
    assert [tag.name for tag in found.tags] == ["voltage", "power"]
    voltage = found.tags[0]
    assert (voltage.unit, voltage.low, voltage.high) == ("V", 0, 600)
    assert voltage.names == {"en": "Voltage", "zh": "电压"}
    assert voltage.address.register == 10  # type: ignore[attr-defined]
    assert voltage.address.function == 4  # type: ignore[attr-defined]
    assert voltage.address.word_order == "little"  # type: ignore[attr-defined]


def test_the_map_is_inherited_and_what_it_says_about_itself_is_not(folder: Folder) -> None:
    found = device(folder)
    assert (found.manufacturer, found.model) == ("Acme", "M2")
    limits = found.options.limits  # type: ignore[attr-defined]
    assert (limits.max_registers, limits.even_start) == (40, True)
    needed = "\n".join(line for line in CHILD.splitlines() if not line.startswith(("model", "source", "verified")))
    told = mistakes(folder, needed)
    assert [mistake.split(": ")[1] for mistake in told] == ["model", "source", "verified"]


def test_a_device_may_leave_out_what_the_family_has(folder: Folder) -> None:
    found = device(folder, text="{id: d, template: acme-m2, without: [power]}")
    assert [tag.name for tag in found.tags] == ["voltage"]


def test_a_grandchild_gets_it_all(folder: Folder) -> None:
    folder.write(
        "templates/acme-m3.yaml",
        "protocol: modbus\nextends: acme-m2\nmodel: M3\nsource: a test\nverified: none\nwithout: [voltage]\n",
    )
    found = device(folder, text="{id: d, template: acme-m3}")
    assert (found.manufacturer, found.model, [tag.name for tag in found.tags]) == ("Acme", "M3", ["power"])


def test_a_missing_parent_is_told_with_the_nearest(folder: Folder) -> None:
    (told,) = mistakes(folder, CHILD.replace("extends: acme-m1", "extends: acme-m11"))
    assert told.startswith("templates/acme-m2.yaml:2: extends: there is no template acme-m11.yaml in ")
    assert told.endswith('; did you mean "acme-m1"?')


def test_a_circle_is_told_where_it_closes(folder: Folder) -> None:
    folder.write("templates/acme-m3.yaml", CHILD.replace("acme-m1", "acme-m2"))
    assert mistakes(folder, CHILD.replace("acme-m1", "acme-m3")) == [
        "templates/acme-m3.yaml:2: extends: acme-m2 extends acme-m3 extends acme-m2: a template cannot extend itself"
    ]
    assert mistakes(folder, CHILD.replace("acme-m1", "acme-m2")) == [
        "templates/acme-m2.yaml:2: extends: acme-m2 extends acme-m2: a template cannot extend itself"
    ]


def test_names_that_the_family_does_not_have_are_told(folder: Folder) -> None:
    told = mistakes(folder, CHILD.replace("[energy]", "[enrgy]").replace("{name: voltage", "{name: voltge"))
    assert told[0] == 'templates/acme-m2.yaml:8: without: acme-m1 has no tag enrgy; did you mean "energy"?'
    wrong = CHILD.replace("name: voltage, register: 10", "name: voltge")
    assert 'templates/acme-m2.yaml:10: tags[voltge].name: acme-m1 has no tag voltge; did you mean "voltage"?' in (
        mistakes(folder, wrong)
    )


def test_another_protocol_or_nothing_to_leave_out_of_is_a_mistake(folder: Folder) -> None:
    (told,) = mistakes(folder, CHILD.replace("protocol: modbus", "protocol: opcua"))
    assert told == "templates/acme-m2.yaml:2: extends: acme-m1 is a template for modbus, this one for opcua"
    alone = mistakes(folder, CHILD.replace("extends: acme-m1\n", "manufacturer: Acme\n"))
    assert any("it extends none" in mistake for mistake in alone)


def test_a_mistake_of_the_parent_keeps_its_place(folder: Folder) -> None:
    from tests.support.config import TEMPLATE

    folder.write("templates/acme-m1.yaml", TEMPLATE.replace("max_registers: 80", "max_registers: 999"))
    told = mistakes(folder, CHILD.replace("limits: {max_registers: 40}\n", ""))
    assert told == ["templates/acme-m1.yaml:7: limits.max_registers: 999 is out of range; allowed: 1 to 125"]
