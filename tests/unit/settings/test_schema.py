"""The schemas that editors use: generated from the options, and equal to what is committed."""

from pathlib import Path

import pytest

from drivers import PROTOCOLS
from gateway.cli.schema import text_of
from gateway.settings.schema import NAMES, schema
from gateway.sinks import SINKS

CONFIG = Path(__file__).parents[3] / "config"


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_schema_is_that_of_the_code(name: str) -> None:
    committed = (CONFIG / f"schema/{name}.json").read_text(encoding="utf-8")
    assert committed == text_of(name), "run: pilot-gateway schema --write config/schema"


def test_nothing_else_is_committed() -> None:
    assert {path.stem for path in (CONFIG / "schema").iterdir()} == set(NAMES)


@pytest.mark.parametrize("path", sorted(CONFIG.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_file_names_its_schema_in_its_first_line(path: Path) -> None:
    first, _, _ = path.read_text(encoding="utf-8").partition("\n")
    mark, _, reference = first.partition("=")
    assert mark == "# yaml-language-server: $schema"
    assert (path.parent / reference).resolve().is_file()


def test_every_link_and_every_sink_is_in_its_schema() -> None:
    line, gateway = schema("line"), schema("gateway")
    links = {model.__name__ for protocol in PROTOCOLS for model in protocol.links.values()}
    assert {ref["$ref"].rpartition("/")[2] for ref in line["properties"]["links"]["items"]["anyOf"]} == links
    assert set(gateway["properties"]["sinks"]["properties"]) == set(SINKS)


def test_tags_of_a_device_with_a_template_need_only_a_name() -> None:
    definitions = schema("line")["$defs"]
    device = definitions["ModbusDevice"]
    assert device["properties"]["tags"]["items"] == {"$ref": "#/$defs/ModbusTagOverride"}
    assert definitions["ModbusTagOverride"]["required"] == ["name"]
    assert device["if"] == {"not": {"required": ["template"]}}
    assert device["then"]["properties"]["tags"]["items"] == {"$ref": "#/$defs/ModbusTag"}
    assert definitions["ModbusTag"]["required"] == ["name", "register"]


def test_keys_carry_their_description_and_unknown_ones_are_refused() -> None:
    tag = schema("line")["$defs"]["ModbusTag"]
    assert tag["properties"]["register"]["description"] == "address on the wire, counted from 0"
    assert tag["additionalProperties"] is False


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_leads_somewhere_and_nothing_is_newer_than_draft_7(name: str) -> None:
    whole = schema(name)
    assert whole["$schema"] == "http://json-schema.org/draft-07/schema#"
    seen = list(_references(whole))
    assert all(reference.removeprefix("#/$defs/") in whole["$defs"] for reference in seen)
    assert '"prefixItems"' not in text_of(name)


def _references(part: object) -> list[str]:
    if isinstance(part, dict):
        own = [str(part["$ref"])] if "$ref" in part else []
        return own + [reference for child in part.values() for reference in _references(child)]
    return [reference for child in part for reference in _references(child)] if isinstance(part, list) else []
