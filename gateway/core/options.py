"""The keys of a line file that every protocol shares; a driver adds its own to these.

Each class is both the validation and the documentation of what a technician writes: a field's description ends up in
the JSON schema, in the editor's tooltip and in the error message.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from gateway.core.model import Kind

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
"""A name that is also an identity: lower-case ASCII letters, digits, ``-`` and ``_``."""

Unit = Annotated[str, StringConstraints(pattern=r"^[!-~]+$", max_length=32)]
"""A UCUM code: printable ASCII without spaces."""

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Options(BaseModel):
    """Base of everything that is read from a file: frozen, and a key nobody knows is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True)


class Names(Options):
    """What people call it, by language. Never an identity."""

    en: str = ""
    zh: str = ""


class TagOptions(Options):
    """One measured quantity."""

    name: Slug = Field(description="Name of the tag: what topics and series carry")
    kind: Kind | None = Field(None, description="float, int, bool or text; follows from the type where not given")
    unit: Unit = Field("1", description="UCUM code of the engineering value, such as Cel, bar, kW.h; 1: dimensionless")
    scale: Finite = Field(1.0, description="engineering value = raw value × scale + offset")
    offset: Finite = Field(0.0, description="added after scaling, in the unit of the tag")
    range: tuple[Finite, Finite] | None = Field(
        None, description="[lowest, highest] plausible engineering value; outside it the value is uncertain"
    )
    deadband: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="smallest change worth reporting, in the unit of the tag; 0: report every scan",
    )
    wrap: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="of a counter: the value, in the unit of the tag, at which it begins again at 0"
    )
    period_s: Seconds | None = Field(None, description="how often to read this tag; default: the device's period")
    names: Names = Field(Names(), description="display names, {en: …, zh: …}")
    description: str = Field("", max_length=500, description="for people")

    def value_kind(self, device: DeviceOptions) -> Kind:
        """What the tag's engineering values are; a driver whose addresses have types refines this."""
        return self.kind or Kind.FLOAT

    def wire_address(self, device: DeviceOptions) -> Hashable:
        """Where the tag is, in the driver's own frozen type, with the device's defaults filled in."""
        raise TypeError(f"{type(self).__name__} does not say where its tag is")

    def wraps_at(self) -> float | None:
        """Where the counter rolls over, in the unit of the tag; a driver whose types say so refines this."""
        return self.wrap

    def names_of_numbers(self) -> Mapping[int, str]:
        """What the numbers of an enumeration mean."""
        return {}

    def names_of_bits(self) -> Mapping[int, str]:
        """What the bits of a bit field mean."""
        return {}

    @model_validator(mode="after")
    def _check_range(self) -> TagOptions:
        if self.range and self.range[0] >= self.range[1]:
            raise ValueError("range is [lowest, highest]: the first number must be the smaller one")
        if self.scale == 0:
            raise ValueError("scale 0 would make every value the same; leave it out for 1")
        if self.wrap and self.range and self.range[1] > self.wrap:
            raise ValueError(f"range goes up to {self.range[1]:g}, but the counter begins again at wrap: {self.wrap:g}")
        return self


class DeviceOptions(Options):
    """One instrument."""

    id: Slug = Field(description="Name of the device: what topics and series carry")
    template: Slug | None = Field(None, description="instrument model: a file of config/templates without .yaml")
    only: tuple[Slug, ...] = Field((), description="of the template's tags only these; default: all")
    without: tuple[Slug, ...] = Field((), description="all of the template's tags but these")
    period_s: Seconds = Field(1.0, description="how often to read the tags that do not say so themselves")
    equipment: str = Field("", max_length=64, description="ISA-88 unit it belongs to, such as R101")
    names: Names = Field(Names(), description="display names, {en: …, zh: …}")
    enabled: bool = Field(True, description="false: switched off, its tags read BadOutOfService")

    @model_validator(mode="after")
    def _check_template(self) -> DeviceOptions:
        if (self.only or self.without) and not self.template:
            raise ValueError("only and without choose among the tags of a template; this device has none")
        return self


class LinkOptions(Options):
    """One thing that carries one conversation."""

    id: Slug = Field(description="Name of the link: what logs and the status page call it")


class TemplateOptions(Options):
    """The tag map of one instrument model: what all protocols' templates say about themselves."""

    manufacturer: str = Field(description="who makes it")
    model: str = Field(description="model name as on the type plate")
    names: Names = Field(Names(), description="display names, {en: …, zh: …}")
    source: str = Field(description="where the map was taken from: documents, with version")
    verified: Literal["hardware", "document", "code", "none"] = Field(description="against what the map was checked")
    revision: int = Field(1, ge=1, description="grows with every change of this file")
    extends: Slug | None = Field(None, description="template of the same family that this one says the differences to")
    without: tuple[Slug, ...] = Field((), description="tags of that template which this model does not have")

    @model_validator(mode="after")
    def _check_family(self) -> TemplateOptions:
        if self.without and not self.extends:
            raise ValueError("without leaves out tags of the template that this one extends; it extends none")
        return self
