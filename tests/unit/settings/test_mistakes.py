"""Every kind of mistake, word for word: what a technician reads."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from drivers import DRIVERS
from gateway.settings.model import GatewayFile
from tests.support.config import LINE, Folder

TAG = "lines/pl1.yaml:3: links[bus].devices[meter].tags[a]"
DEVICE = "lines/pl1.yaml:3: links[bus].devices[d]"
LINK = "lines/pl1.yaml:3: links[bus]"
SLUG = "allowed: lower-case letters a-z, digits, - and _, no blanks"


def test_the_folder_of_these_tests_is_right(folder: Folder) -> None:
    assert folder.mistakes() == []


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("{name: a, register: 1, perod_s: 1}", f'{TAG}.perod_s: unknown key; did you mean "period_s"?'),
        ("{name: a, regster: 1}", f'{TAG}.regster: unknown key; did you mean "register"?'),
        (
            "{name: a, register: 1, names: {de: x}}",
            f"{TAG}.names.de: unknown key; allowed: en, zh",
        ),
        ("{name: a}", f"{TAG}.register: is missing; address on the wire, counted from 0"),
        (
            '{name: a, register: "1"}',
            f'{TAG}.register: must be a whole number (0 to 65535), not "1"; leave out the quotes',
        ),
        ("{name: a, register: 1.5}", f"{TAG}.register: must be a whole number (0 to 65535), not 1.5"),
        ("{name: a, register: true}", f"{TAG}.register: must be a whole number (0 to 65535), not true"),
        ("{name: a, register: 70000}", f"{TAG}.register: 70000 is out of range; allowed: 0 to 65535"),
        ("{name: a, register: 1, deadband: -1}", f"{TAG}.deadband: -1 is out of range; allowed: at least 0"),
        (
            "{name: a, register: 1, period_s: 0}",
            f"{TAG}.period_s: 0 is out of range; allowed: more than 0 and at most 86400",
        ),
        ("{name: a, register: 1, scale: .nan}", f"{TAG}.scale: must be a finite number, not nan"),
        ("{name: a, register: 1, unit: 5}", f"{TAG}.unit: must be text, not 5; put it in quotes"),
        ("{name: a, register: 1, unit: }", f"{TAG}.unit: must be text, not nothing"),
        (
            "{name: a, register: 1, unit: °C}",
            f'{TAG}.unit: "°C" is not a UCUM code; allowed: printable ASCII without blanks, '
            "such as Cel, bar, kW.h, L/min",
        ),
        (
            "{name: a, register: 1, kind: flaot}",
            f'{TAG}.kind: "flaot" is not allowed; allowed: float, int, bool, text; did you mean "float"?',
        ),
        (
            '{name: a, register: 1, function: "3"}',
            f'{TAG}.function: "3" is not allowed; allowed: 1, 2, 3, 4; leave out the quotes',
        ),
        (
            "{name: a, register: 1, range: [1]}",
            f"{TAG}.range: has 1 of its entries only; [lowest, highest] plausible engineering value; "
            "outside it the value is uncertain",
        ),
        (
            "{name: a, register: 1, range: [1, 2, 3]}",
            f"{TAG}.range: has 3 entries; at most 2; [lowest, highest] plausible engineering value; "
            "outside it the value is uncertain",
        ),
        (
            "{name: a, register: 1, range: [2, 1]}",
            f"{TAG}: range is [lowest, highest]: the first number must be the smaller one",
        ),
        (
            "{name: a, register: 1, range: [0, 2000], wrap: 1000}",
            f"{TAG}: range goes up to 2000, but the counter begins again at wrap: 1000",
        ),
        ("{name: a, register: 1, wrap: 0}", f"{TAG}.wrap: 0 is out of range; allowed: more than 0"),
        (
            "{name: a, register: 1, type: bit, bit: 0, wrap: 2}",
            f"{TAG}: a tag of kind bool has no wrap; those are for numbers",
        ),
        (
            "{name: a, register: 1, range: 5}",
            f"{TAG}.range: must be a list, not a number; [lowest, highest] plausible engineering value; "
            "outside it the value is uncertain",
        ),
        (
            "{name: a, register: 1, names: x}",
            f"{TAG}.names: must be a map of keys, not text; display names, {{en: …, zh: …}}",
        ),
        (
            "{name: a, register: 1, scale: 0,1}",
            f"{TAG}.1: a number on its own: decimals are written with a point, 0.1 and not 0,1",
        ),
        ("{name: a, register: 1, factor: 2}", f'{TAG}.factor: unknown key; did you mean "scale"?'),
        ('{name: a, register: 1, scale: "0,1"}', f'{TAG}.scale: must be a number, not "0,1"; write 0.1'),
        (
            "{name: a, register: 1, range: [1, 5 6]}",
            f'{TAG}.range[#2]: must be a number, not "5 6"; put commas between numbers',
        ),
        (
            "{name: a, register: 1, word_order: l}",
            f'{TAG}.word_order: "l" is not allowed; allowed: big, little; did you mean "little"?',
        ),
        (
            "{name: a, register: 1, type: string, length: 2, unit: V}",
            f"{TAG}: a tag of kind text has no unit; those are for numbers",
        ),
        (
            "{name: a, register: 1, type: bit, bit: 0, range: [0, 1], deadband: 1}",
            f"{TAG}: a tag of kind bool has no range and no deadband; those are for numbers",
        ),
        ("{name: a, register: 1}, {name: a, register: 2}", f"{TAG}: two tags are called a; the other is in line 3"),
        (
            "{name: Über Druck, register: 1}",
            "lines/pl1.yaml:3: links[bus].devices[meter].tags[Über Druck].name: "
            f'"Über Druck" cannot be a name; {SLUG}; did you mean "uber-druck"?',
        ),
        (
            "{register: 1}",
            "lines/pl1.yaml:3: links[bus].devices[meter].tags[#1].name: "
            "is missing; Name of the tag: what topics and series carry",
        ),
        ("5", "lines/pl1.yaml:3: links[bus].devices[meter].tags[#1]: must be a map of keys, not a number"),
    ],
)
def test_in_a_tag(folder: Folder, tag: str, message: str) -> None:
    folder.tag(tag)
    assert folder.mistakes() == [message]


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (
            "{id: d, enabled: yes, template: acme-m1}",
            f'{DEVICE}.enabled: must be true or false, not "yes"; write true',
        ),
        ("{id: d}", f"{DEVICE}.tags: a device needs tags, its own or those of a template"),
        (
            "{id: d, template: acme-m2}",
            f'{DEVICE}.template: there is no template acme-m2.yaml in templates; did you mean "acme-m1"?',
        ),
        (
            "{id: d, template: zzz}",
            f"{DEVICE}.template: there is no template zzz.yaml in templates; allowed: acme-m1",
        ),
        ("{id: d, template: ../x}", f'{DEVICE}.template: "../x" cannot be a name; {SLUG}; did you mean "x"?'),
        ("{id: d, template: acme-m1, address: 300}", f"{DEVICE}.address: 300 is out of range; allowed: 0 to 255"),
        (
            "{id: d, template: acme-m1, limits: {max_registers: 500}}",
            f"{DEVICE}.limits.max_registers: 500 is out of range; allowed: 1 to 125",
        ),
        (
            "{id: d, template: acme-m1, without: [volts]}",
            f'{DEVICE}.without: acme-m1 has no tag volts; did you mean "voltage"?',
        ),
        (
            "{id: d, only: [a], tags: [{name: a, register: 1}]}",
            f"{DEVICE}: only and without choose among the tags of a template; this device has none",
        ),
        ("{id: d, template: acme-m1, tags: 5}", f"{DEVICE}.tags: must be a list, not a number"),
        (
            "{id: d, template: acme-m1}, {id: d, template: acme-m1}",
            f"{DEVICE}.id: two devices of the line are called d; the other is in line 3",
        ),
        ("5", f"{LINK}.devices[#1]: must be a map of keys, not a number"),
    ],
)
def test_in_a_device(folder: Folder, device: str, message: str) -> None:
    folder.device(device)
    assert folder.mistakes() == [message]


@pytest.mark.parametrize(
    ("link", "messages"),
    [
        ("type: modbus-tpc, host: h", [f'{LINK}.type: unknown type "modbus-tpc"; did you mean "modbus-tcp"?']),
        ("host: h", [f"{LINK}.type: is missing; allowed: {', '.join(DRIVERS)}"]),
        ('type: modbus-tcp, host: ""', [f"{LINK}.host: is empty; IP address or host name"]),
        (
            "type: opcua, endpoint: opc.tcp://h:1, security: {policy: None}",
            [f"{DEVICE}.template: acme-m1 is a template for modbus, but this link speaks opcua"],
        ),
        (
            "type: opcua, endpoint: http://h:1",
            [
                f"{DEVICE}.template: acme-m1 is a template for modbus, but this link speaks opcua",
                f'{LINK}.endpoint: "http://h:1" does not fit; allowed: opc.tcp://host:port/path',
                f"{LINK}.security: is missing; {{policy: Basic256Sha256, mode: SignAndEncrypt}} or {{policy: None}}",
            ],
        ),
    ],
)
def test_in_a_link(folder: Folder, link: str, messages: list[str]) -> None:
    folder.device("{id: d, template: acme-m1}", link)
    assert folder.mistakes() == messages


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "",
            [
                "lines/pl1.yaml:1: line: is missing; Name of the line: what topics and series carry",
                "lines/pl1.yaml:1: links: is missing; the conversations that bring its values",
            ],
        ),
        (
            "line: pl1\nlinks: []\n",
            ["lines/pl1.yaml:2: links: has 0 entries; at least 1; the conversations that bring its values"],
        ),
        ("line: pl1\nlinks: [5]\n", ["lines/pl1.yaml:2: links[#1]: must be a map of keys, not a number"]),
        ("- a\n", ["lines/pl1.yaml:1: must be a map of keys, one 'key: value' per line"]),
        (LINE + "name: {en: Skid}\n", ['lines/pl1.yaml:10: name: unknown key; did you mean "names"?']),
        (
            LINE + LINE.partition("links:\n")[2],
            [
                "lines/pl1.yaml:10: links[bus]: two links are called bus; the other is in line 3",
                "lines/pl1.yaml:14: links[bus].devices[meter].id: two devices of the line are called meter; "
                "the other is in line 7",
            ],
        ),
    ],
)
def test_in_a_line_file(folder: Folder, text: str, messages: list[str]) -> None:
    folder.line(text)
    assert folder.mistakes() == messages


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "site: a\n",
            ["gateway.yaml:1: gateway: is missing; Name of this gateway: what topics and the status call it"],
        ),
        ("gateway: gw1\n", ["lines/pl1.yaml:1: site: is missing; say it here or once in gateway.yaml"]),
        (
            "gateway: gw1\nsite: a\nsinks:\n  broker: {host: h}\n",
            ["gateway.yaml:4: sinks.broker.type: is missing; allowed: mqtt, influxdb"],
        ),
        (
            "gateway: gw1\nsite: a\nsinks:\n  broker: {type: mqt, host: h}\n",
            ['gateway.yaml:4: sinks.broker.type: unknown type "mqt"; did you mean "mqtt"?'],
        ),
        (
            "gateway: gw1\nsite: a\nsinks:\n  mqtt: {host: h, version: 5}\n",
            ['gateway.yaml:4: sinks.mqtt.version: 5 is not allowed; allowed: 3.1.1, 5; write "5" in quotes'],
        ),
        (
            "gateway: gw1\nsite: a\nsinks:\n  Main Broker: {type: mqtt, host: h}\n",
            [
                'gateway.yaml:4: sinks.Main Broker: "Main Broker" cannot be a name; '
                "allowed: lower-case letters a-z, digits, - and _"
            ],
        ),
        (
            "gateway: gw1\nsite: a\nsinks:\n  a-b: {type: mqtt, host: h}\n  a_b: {type: mqtt, host: h}\n",
            ["gateway.yaml:5: sinks.a_b: a-b and a_b could not be told apart in the environment; rename one"],
        ),
        (
            "gateway: gw1\nsite: a\nsinks:\n  mqtt: {host: h}\n  mqtt: {host: i}\n",
            ["gateway.yaml:5: sinks.mqtt: given twice; the first time in line 4"],
        ),
        (
            "gateway: gw1\nsite: a\napi: {host: 0.0.0.0}\nlog: 5\n",
            [
                'gateway.yaml:3: api.host: "0.0.0.0" can be reached by others; '
                "give token or token_file too, or use 127.0.0.1",
                "gateway.yaml:4: log: must be a map of keys, not a number; diagnostic logs",
            ],
        ),
        (
            "gateway: gw1\nsite: a\nlines: [nix/*.yaml]\njournal: {max_size_mb: 1}\nlog: {level: INFO}\n",
            [
                "gateway.yaml:3: lines: no file is called nix/*.yaml; a gateway needs at least one line",
                "gateway.yaml:4: journal.max_size_mb: 1 is out of range; allowed: 16 to 4000000",
                'gateway.yaml:5: log.level: "INFO" is not allowed; allowed: debug, info, warning, error; '
                'did you mean "info"?',
            ],
        ),
    ],
)
def test_in_gateway_yaml(folder: Folder, text: str, messages: list[str]) -> None:
    folder.write("gateway.yaml", text)
    assert folder.mistakes() == messages


def test_a_device_without_any_tag_of_its_template(folder: Folder) -> None:
    folder.device("{id: d, template: acme-m1, without: [voltage, energy]}")
    assert folder.mistakes() == [f"{DEVICE}.tags: a device needs tags, its own or those of a template"]


def test_a_mistaken_device_does_not_hide_what_is_wrong_with_its_link(folder: Folder) -> None:
    folder.device(
        "{id: a, tags: [{name: x, node: i=1}]}, {id: b, tags: [{name: x, nod: i=2}]}",
        "type: opcua, endpoint: opc.tcp://h:1, security: {policy: None}, password: secret",
    )
    assert folder.mistakes() == [
        f'{LINK}.devices[b].tags[x].nod: unknown key; did you mean "node"?',
        f"{LINK}: a password needs a username",
    ]


def test_a_link_that_is_no_map_does_not_shift_the_names_of_the_others(folder: Folder) -> None:
    folder.line("line: pl1\nlinks:\n  - 5\n  - {type: modbus-tpc}\n")
    assert folder.mistakes() == [
        "lines/pl1.yaml:3: links[#1]: must be a map of keys, not a number",
        'lines/pl1.yaml:4: links[#2].type: unknown type "modbus-tpc"; did you mean "modbus-tcp"?',
    ]


def test_a_gateway_file_that_is_not_there(folder: Folder) -> None:
    (folder.path / "gateway.yaml").unlink()
    assert folder.mistakes() == ["gateway.yaml: the file does not exist"]


def test_all_mistakes_of_all_files_at_once_in_the_order_of_files_and_lines(folder: Folder) -> None:
    folder.write("gateway.yaml", "gateway: gw1\nsite: wuxi\nlog: {levle: info}\n")
    folder.line(
        """\
        line: pl1
        links:
          - id: bus
            type: modbus-tcp
            host: h
            port: 99999
            devices:
              - {id: a, template: acme-m1, adress: 1}
              - {id: b, template: broken}
              - {id: c, template: broken}
              - {id: d, tags: [{name: x, register: 1, type: string, length: 1, scale: 1}]}
          - {id: plc, type: opcua, endpoint: "opc.tcp://h:1", security: {policy: Nne}, devices: []}
        """
    )
    folder.write("lines/pl2.yaml", "line: pl2\nlinks: [\n")
    folder.write("lines/pl3.yaml", LINE.replace("id: bus", "id: other"))
    folder.write("templates/broken.yaml", "protocol: modbus\nmodel: 3216\ntags:\n  - {name: x}\n")
    assert folder.mistakes() == [
        'gateway.yaml:3: log.levle: unknown key; did you mean "level"?',
        "lines/pl1.yaml:6: links[bus].port: 99999 is out of range; allowed: 0 to 65535",
        'lines/pl1.yaml:8: links[bus].devices[a].adress: unknown key; did you mean "address"?',
        "lines/pl1.yaml:11: links[bus].devices[d].tags[x]: a tag of kind text has no scale; those are for numbers",
        'lines/pl1.yaml:12: links[plc].security.policy: "Nne" is not allowed; allowed: None, Basic256Sha256, '
        "Aes128_Sha256_RsaOaep, Aes256_Sha256_RsaPss; "
        'did you mean "None"?',
        "lines/pl1.yaml:12: links[plc].devices: has 0 entries; at least 1",
        "templates/broken.yaml:1: manufacturer: is missing; who makes it",
        "templates/broken.yaml:1: source: is missing; where the map was taken from: documents, with version",
        "templates/broken.yaml:1: verified: is missing; allowed: hardware, document, code, none",
        "templates/broken.yaml:2: model: must be text, not 3216; put it in quotes",
        "templates/broken.yaml:4: tags[x].register: is missing; address on the wire, counted from 0",
        "lines/pl2.yaml:3: not valid YAML: a value or a closing bracket is missing",
        "lines/pl3.yaml:1: line: two lines are called wuxi/pl1; the other is in lines/pl1.yaml:1",
    ]


def test_a_gateway_file_that_cannot_be_read_hides_nothing_of_the_lines(folder: Folder) -> None:
    folder.write("gateway.yaml", 'gateway: "gw1\n')
    folder.tag("{name: a, register: 70000}")
    assert folder.mistakes() == [
        "gateway.yaml:1: not valid YAML: a quote or bracket that is opened here is never closed",
        f"{TAG}.register: 70000 is out of range; allowed: 0 to 65535",
    ]


def test_links_of_two_lines_need_different_names(folder: Folder) -> None:
    folder.write("lines/pl2.yaml", LINE.replace("pl1", "pl2"))
    assert folder.mistakes() == [
        "lines/pl2.yaml:3: links[bus].id: two links are called bus; the other is in lines/pl1.yaml:3"
    ]


def _numbers(model: type[BaseModel], within: str = "") -> Iterator[str]:
    """The keys of a model, and of those below it, whose values are numbers or true or false."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _numbers(info.annotation, f"{within}{name}.")
        elif info.annotation in (int, float, bool):
            yield within + name


@pytest.mark.parametrize("key", [*_numbers(GatewayFile)])
def test_quotes_make_text_of_every_number_of_the_gateway_file(folder: Folder, key: str) -> None:
    section, _, name = key.partition(".")
    folder.write("gateway.yaml", f"gateway: gw1\nsite: wuxi\n{section}: {{{name}: '1'}}\n")
    (mistake,) = folder.mistakes()
    assert mistake.startswith(f"gateway.yaml:3: {key}: must be ")


def test_the_gateway_file_has_numbers() -> None:
    assert set(_numbers(GatewayFile)) >= {"journal.max_size_mb", "journal.history_s", "api.port"}
