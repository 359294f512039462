"""What a technician may write about Modbus in a line file or a template."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gateway.core.model import Kind
from gateway.core.options import DeviceOptions, LinkOptions, Options, TagOptions, TemplateOptions


class Type(StrEnum):
    """How the bits of the registers are meant."""

    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    BIT = "bit"  # one bit of a register, or a coil / discrete input
    STRING = "string"


class Order(StrEnum):
    """Which part comes first on the wire."""

    BIG = "big"
    LITTLE = "little"


WORDS = {
    Type.INT16: 1, Type.UINT16: 1, Type.INT32: 2, Type.UINT32: 2, Type.FLOAT32: 2,
    Type.INT64: 4, Type.UINT64: 4, Type.FLOAT64: 4, Type.BIT: 1,
}  # fmt: skip
"""Registers that a value of the type takes; a string says its own length."""


_KINDS = {
    Type.FLOAT32: (Kind.FLOAT,),
    Type.FLOAT64: (Kind.FLOAT,),
    Type.BIT: (Kind.BOOL, Kind.INT),
    Type.STRING: (Kind.TEXT,),
}
"""Kinds that hold every value of a type without a silent cast; integers go into int, float and bool."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a tag is in a Modbus device; the ``address`` of a core Tag."""

    function: int  # 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers
    register: int  # on the wire, 0-based
    words: int  # registers (functions 3, 4) or bits (1, 2)
    type: Type
    byte_order: Order
    word_order: Order
    bit: int  # of the register, 0 is the least significant; type bit with functions 3 and 4
    invalid: tuple[int, ...]  # raw values, as unsigned integers of the type's width, that mean "not available"


class ModbusTag(TagOptions):
    """One value in the registers or coils of a Modbus device."""

    wire_register: int = Field(alias="register", ge=0, le=65_535, description="address on the wire, counted from 0")
    function: Literal[1, 2, 3, 4] | None = Field(
        None, description="1 coils, 2 discrete inputs, 3 holding registers, 4 input registers; default: the device's"
    )
    type: Type = Field(Type.UINT16, description="how the registers are meant")
    bit: int | None = Field(None, ge=0, le=15, description="for type bit in a register: 0 is the least significant")
    length: int | None = Field(None, ge=1, le=125, description="for type string: registers it takes")
    byte_order: Order | None = Field(None, description="order of the bytes in a register; default: the device's")
    word_order: Order | None = Field(None, description="order of the registers of one value; default: the device's")
    invalid: tuple[int, ...] = Field((), description="raw values that mean 'not available', such as 0x8000")

    @property
    def words(self) -> int:
        """Registers that the value takes."""
        return WORDS.get(self.type, self.length or 1)

    @model_validator(mode="after")
    def _check_registers(self) -> ModbusTag:
        if (self.length is not None) != (self.type is Type.STRING):
            raise ValueError("length, in registers, belongs to type: string and to no other")
        if self.wire_register + self.words > 65_536:
            raise ValueError(f"register {self.wire_register} and the {self.words - 1} behind it go beyond 65535")
        most = (1 << 16 * self.words) - 1
        if not all(0 <= value <= most for value in self.invalid):
            raise ValueError(f"invalid takes raw values from 0 to 0x{most:X} for type: {self.type}")
        return self

    def value_kind(self, device: DeviceOptions) -> Kind:
        """Kind.FLOAT for whatever is scaled, Kind.INT for plain integers, BOOL for bits, TEXT for strings."""
        if self.kind:
            return self.kind
        if self.type is Type.STRING:
            return Kind.TEXT
        if self.type is Type.BIT or (self.function or _modbus(device).function) in (1, 2):
            return Kind.BOOL
        if self.type in (Type.FLOAT32, Type.FLOAT64) or self.scale != 1 or self.offset != 0:
            return Kind.FLOAT
        return Kind.INT

    def wire_address(self, device: DeviceOptions) -> Address:
        """The address with the defaults of the device filled in.

        Raises ValueError where the tag does not go with them.
        """
        device = _modbus(device)
        function = self.function or device.function
        bits = function in (1, 2)
        if bits and "type" in self.model_fields_set and self.type is not Type.BIT:
            raise ValueError(f"function {function} reads single bits: leave out type: {self.type}")
        if self.bit is not None and (bits or self.type is not Type.BIT):
            raise ValueError("bit picks one bit of a register: it goes with type: bit and function 3 or 4")
        if self.type is Type.BIT and not bits and self.bit is None:
            raise ValueError("type: bit needs bit: which one of the register; 0 is the least significant")
        if self.invalid and (bits or self.type in (Type.BIT, Type.STRING)):
            raise ValueError("invalid is for numbers")
        if not bits and _registers_asked(self, device.limits) > device.limits.max_registers:
            raise ValueError(f"its {self.words} registers do not fit into one request within the limits of the device")
        allowed = _KINDS.get(Type.BIT if bits else self.type, (Kind.INT, Kind.FLOAT, Kind.BOOL))
        if self.value_kind(device) not in allowed:
            raise ValueError(f"kind: {self.kind} cannot hold this type; allowed: {', '.join(allowed)}")
        return Address(
            function=function,
            register=self.wire_register,
            words=1 if bits else self.words,
            type=Type.BIT if bits else self.type,
            byte_order=self.byte_order or device.byte_order,
            word_order=self.word_order or device.word_order,
            bit=self.bit or 0,
            invalid=self.invalid,
        )


class Limits(Options):
    """What the instrument accepts in one request."""

    max_registers: int = Field(125, ge=1, le=125, description="most registers in one request")
    max_bits: int = Field(2000, ge=1, le=2000, description="most coils or discrete inputs in one request")
    even_start: bool = Field(False, description="requests must start at an even address")
    even_count: bool = Field(False, description="requests must ask for an even number of registers")
    max_gap: int = Field(16, ge=0, le=124, description="most unused registers to read along rather than ask twice")


class ModbusMap(Options):
    """What templates and devices may both say about the map as a whole."""

    function: Literal[1, 2, 3, 4] = Field(3, description="function code of tags that do not say so themselves")
    byte_order: Order = Field(Order.BIG, description="order of the bytes in a register")
    word_order: Order = Field(Order.BIG, description="order of the registers of one value")
    limits: Limits = Field(Limits(), description="what the instrument accepts in one request")


def _registers_asked(tag: ModbusTag, limits: Limits) -> int:
    """How long a request for this tag alone is."""
    count = tag.words + (tag.wire_register % 2 if limits.even_start else 0)
    return count + count % 2 if limits.even_count else count


class ModbusTemplate(TemplateOptions, ModbusMap):
    """config/templates/<name>.yaml of a Modbus instrument."""

    protocol: Literal["modbus"]
    tags: tuple[ModbusTag, ...] = Field(min_length=1)


class ModbusDevice(DeviceOptions, ModbusMap):
    """One Modbus unit."""

    address: int = Field(1, ge=0, le=255, description="unit id: 1-247 on a bus, 255 or 1 over TCP")
    tags: tuple[ModbusTag, ...] = ()


def _modbus(device: DeviceOptions) -> ModbusDevice:
    if not isinstance(device, ModbusDevice):
        raise TypeError(f"a Modbus tag in a {type(device).__name__}")
    return device


class ModbusTcp(LinkOptions):
    """One Modbus TCP session."""

    type: Literal["modbus-tcp"]
    host: str = Field(pattern=r"^[^\s/]+$", description="IP address or host name")
    port: int = Field(502, ge=0, le=65_535)
    timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(1.0, description="longest time to wait for an answer")
    devices: tuple[ModbusDevice, ...] = Field(min_length=1)
