"""JSON schemas of the files, assembled from the registered option classes: what an editor completes and checks.

In: drivers.PROTOCOLS and sinks.SINKS. Out: one schema per kind of file, in draft 7, which every editor knows. Pure.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from drivers import PROTOCOLS
from gateway.settings.lines import device_class
from gateway.settings.model import GatewayFile, LineFile
from gateway.sinks import SINKS

Schema: TypeAlias = dict[str, Any]

NAMES = ("gateway", "line", *(f"template-{protocol.name}" for protocol in PROTOCOLS))


def schema(name: str) -> Schema:
    """The schema of one kind of file; ``name`` is one of NAMES."""
    if name == "gateway":
        made = _gateway()
    elif name == "line":
        made = _line()
    else:
        protocol = next(protocol for protocol in PROTOCOLS if name == f"template-{protocol.name}")
        made = _of(protocol.template)
        _let_family_members_be_partial(made)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **made}


def _gateway() -> Schema:
    made = _of(GatewayFile)
    definitions = made.setdefault("$defs", {})
    refs: dict[str, Schema] = {name: _into(definitions, kind.options) for name, kind in SINKS.items()}
    made["properties"]["sinks"] |= {
        "propertyNames": {"pattern": r"^[a-z0-9][a-z0-9_-]*$", "maxLength": 64},
        "properties": {name: _type_optional(definitions, ref) for name, ref in refs.items()},
        "additionalProperties": {"anyOf": list(refs.values())},
    }
    return made


def _type_optional(definitions: Schema, ref: Schema) -> Schema:
    """A sink that is called by its type need not say it; another type is fine too."""
    name = ref["$ref"].rpartition("/")[2]
    full = definitions[name]
    definitions[f"{name}ByName"] = full | {"required": [key for key in full["required"] if key != "type"]}
    others = [{"$ref": f"#/$defs/{other}"} for other in _sink_names(definitions) if other != name]
    return {"anyOf": [{"$ref": f"#/$defs/{name}ByName"}, *others]}


def _sink_names(definitions: Schema) -> list[str]:
    return [kind.options.__name__ for kind in SINKS.values() if kind.options.__name__ in definitions]


def _line() -> Schema:
    made = _of(LineFile)
    definitions = made.setdefault("$defs", {})
    links = [_into(definitions, model) for protocol in PROTOCOLS for model in protocol.links.values()]
    made["properties"]["links"]["items"] = {"anyOf": links}
    for protocol in PROTOCOLS:
        for device in {device_class(model) for model in protocol.links.values()}:
            _let_template_tags_be_partial(definitions, definitions[device.__name__])
    return made


def _let_template_tags_be_partial(definitions: Schema, device: Schema) -> None:
    """Where a device has a template, a tag may give only the name and what differs."""
    tags = device["properties"]["tags"]
    ref = tags["items"]
    name = ref["$ref"].rpartition("/")[2]
    definitions[f"{name}Override"] = definitions[name] | {"required": ["name"]}
    partial = {"$ref": f"#/$defs/{name}Override"}
    tags["items"] = partial  # what editors complete from; the stricter form follows
    device["if"] = {"not": {"required": ["template"]}}
    device["then"] = {"required": ["tags"], "properties": {"tags": {"items": ref, "minItems": 1}}}


def _let_family_members_be_partial(template: Schema) -> None:
    """A template that extends another says only what differs: no manufacturer, no or partial tags."""
    definitions, tags = template["$defs"], template["properties"]["tags"]
    full = dict(tags)
    name = tags["items"]["$ref"].rpartition("/")[2]
    definitions[f"{name}Override"] = definitions[name] | {"required": ["name"]}
    tags["items"] = {"$ref": f"#/$defs/{name}Override"}
    inherited = ["manufacturer", "tags"]
    template["required"] = [key for key in template["required"] if key not in inherited]
    template["if"] = {"not": {"required": ["extends"]}}
    template["then"] = {"required": inherited, "properties": {"tags": {"items": full["items"]}}}


def _of(model: Any) -> Schema:
    made: Schema = TypeAdapter(model).json_schema(by_alias=True, schema_generator=_Generator)
    return made


def _into(definitions: Schema, model: Any) -> Schema:
    """A reference to the model, whose schema is among the definitions from now on."""
    made = _of(model)
    definitions |= made.pop("$defs", {})
    definitions[model.__name__] = made
    return {"$ref": f"#/$defs/{model.__name__}"}


class _Generator(GenerateJsonSchema):
    """Draft 7: a tuple of fixed length is ``items`` with one schema each."""

    def tuple_schema(self, schema: Any) -> Any:
        made = super().tuple_schema(schema)
        if "prefixItems" in made:
            made["items"] = made.pop("prefixItems")
        return made
