"""A template under a device: what the device says wins, key by key."""

from gateway.core.model import Device, Kind
from tests.support.config import TEMPLATE, Folder


def only_device(folder: Folder, device: str) -> Device:
    folder.device(device)
    (found,) = folder.load().devices
    return found


def test_a_device_gets_everything_from_its_template(folder: Folder) -> None:
    device = only_device(folder, "{id: d, template: acme-m1, address: 7, period_s: 2}")
    assert (device.manufacturer, device.model, device.template) == ("Acme", "M1", "acme-m1")
    voltage, energy = device.tags
    assert (voltage.name, voltage.kind, voltage.unit, voltage.low, voltage.high) == ("voltage", Kind.FLOAT, "V", 0, 300)
    assert voltage.names == {"en": "Voltage", "zh": "电压"}
    assert voltage.address.function == 4  # type: ignore[attr-defined]
    assert (voltage.period_ns, energy.period_ns) == (2_000_000_000, 10_000_000_000)
    assert device.options.address == 7  # type: ignore[attr-defined]
    assert device.options.limits.max_registers == 80  # type: ignore[attr-defined]


def test_the_device_wins_key_by_key_also_inside_maps(folder: Folder) -> None:
    device = only_device(folder, "{id: d, template: acme-m1, function: 3, limits: {max_gap: 0}, word_order: little}")
    limits = device.options.limits  # type: ignore[attr-defined]
    assert (limits.max_registers, limits.even_start, limits.max_gap) == (80, True, 0)
    address = device.tags[0].address
    assert (address.function, address.word_order) == (3, "little")  # type: ignore[attr-defined]


def test_a_tag_of_the_same_name_overrides_only_what_it_says(folder: Folder) -> None:
    device = only_device(
        folder,
        "{id: d, template: acme-m1, tags: [{name: extra, register: 100}, {name: energy, scale: 0.001, unit: MW.h}]}",
    )
    assert [tag.name for tag in device.tags] == ["voltage", "energy", "extra"]
    energy = device.tags[1]
    assert (energy.scale, energy.unit, energy.period_ns) == (0.001, "MW.h", 10_000_000_000)
    assert energy.address.register == 72  # type: ignore[attr-defined]


def test_only_and_without_choose(folder: Folder) -> None:
    assert [t.name for t in only_device(folder, "{id: d, template: acme-m1, only: [energy]}").tags] == ["energy"]
    assert [t.name for t in only_device(folder, "{id: d, template: acme-m1, without: [energy]}").tags] == ["voltage"]


def test_two_devices_share_a_template_but_nothing_else(folder: Folder) -> None:
    folder.device("{id: a, template: acme-m1, tags: [{name: voltage, unit: kV}]}, {id: b, template: acme-m1}")
    a, b = folder.load().devices
    assert (a.tags[0].unit, b.tags[0].unit) == ("kV", "V")


def test_a_tag_name_near_one_of_the_template_is_taken_for_a_slip(folder: Folder) -> None:
    folder.device("{id: d, template: acme-m1, tags: [{name: voltge, unit: kV}]}")
    where = "lines/pl1.yaml:3: links[bus].devices[d].tags[voltge]"
    assert folder.mistakes() == [
        f'{where}.name: acme-m1 has no tag voltge; did you mean "voltage"?',
        f"{where}.register: is missing; address on the wire, counted from 0",
    ]


def test_a_mistake_in_a_template_is_told_once_with_its_own_place(folder: Folder) -> None:
    folder.write("templates/acme-m1.yaml", TEMPLATE.replace("register: 0", "register: -1"))
    folder.device("{id: a, template: acme-m1}, {id: b, template: acme-m1, address: 999}")
    assert folder.mistakes() == [
        "lines/pl1.yaml:3: links[bus].devices[b].address: 999 is out of range; allowed: 0 to 255",
        "templates/acme-m1.yaml:9: tags[voltage].register: -1 is out of range; allowed: 0 to 65535",
    ]


def test_a_contradiction_in_a_template_is_told_once_too(folder: Folder) -> None:
    folder.write(
        "templates/acme-m1.yaml", TEMPLATE + "  - {name: flag, register: 4, type: bit, bit: 1, range: [0, 1]}\n"
    )
    folder.device("{id: a, template: acme-m1}, {id: b, template: acme-m1}")
    assert folder.mistakes() == [
        "templates/acme-m1.yaml:11: tags[flag]: a tag of kind bool has no range; those are for numbers"
    ]


def test_a_template_that_does_not_parse_leaves_the_rest_of_the_device_checked(folder: Folder) -> None:
    folder.write("templates/acme-m1.yaml", "protocol: [\n")
    folder.device("{id: a, template: acme-m1, tags: [{name: voltage, unit: kV}], period_s: -1}")
    assert folder.mistakes() == [
        "lines/pl1.yaml:3: links[bus].devices[a].period_s: -1 is out of range; allowed: more than 0 and at most 86400",
        "templates/acme-m1.yaml:2: not valid YAML: a value or a closing bracket is missing",
    ]


def test_tags_repeated_in_a_template(folder: Folder) -> None:
    folder.write("templates/acme-m1.yaml", TEMPLATE + "  - {name: energy, register: 4}\n")
    folder.device("{id: a, template: acme-m1}")
    assert folder.mistakes() == [
        "templates/acme-m1.yaml:11: tags[energy]: two tags are called energy; the other is in line 10"
    ]


def test_an_unknown_protocol(folder: Folder) -> None:
    folder.write("templates/acme-m1.yaml", "protocol: modbuss\n")
    folder.device("{id: a, template: acme-m1}")
    assert folder.mistakes() == [
        'templates/acme-m1.yaml:1: protocol: unknown protocol "modbuss"; did you mean "modbus"?'
    ]
