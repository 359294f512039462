"""What a technician may write about Modbus in a line file or a template."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    ACC16 = "acc16"  # counters that only grow, as SunSpec calls them
    ACC32 = "acc32"
    ACC64 = "acc64"
    BCD16 = "bcd16"  # four decimal digits, one per half byte
    BCD32 = "bcd32"
    BITFIELD16 = "bitfield16"  # bits with names of their own
    BITFIELD32 = "bitfield32"
    BIT = "bit"  # one bit of a register, or a coil / discrete input
    STRING = "string"


class Order(StrEnum):
    """Which part comes first on the wire."""

    BIG = "big"
    LITTLE = "little"


WORDS = {
    Type.INT16: 1, Type.UINT16: 1, Type.FLOAT16: 1, Type.ACC16: 1, Type.BCD16: 1, Type.BITFIELD16: 1, Type.BIT: 1,
    Type.INT32: 2, Type.UINT32: 2, Type.FLOAT32: 2, Type.ACC32: 2, Type.BCD32: 2, Type.BITFIELD32: 2,
    Type.INT64: 4, Type.UINT64: 4, Type.FLOAT64: 4, Type.ACC64: 4,
}  # fmt: skip
"""Registers that a value of the type takes; a string says its own length."""

COUNTERS = (Type.ACC16, Type.ACC32)
"""Types whose registers are full some day; those of acc64 never are."""

SIGNED = (Type.INT16, Type.INT32, Type.INT64)
FLOATS = (Type.FLOAT16, Type.FLOAT32, Type.FLOAT64)
BITFIELDS = (Type.BITFIELD16, Type.BITFIELD32)

_KINDS = {
    **dict.fromkeys(FLOATS, (Kind.FLOAT,)),
    **dict.fromkeys(BITFIELDS, (Kind.TEXT, Kind.INT)),
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
    alone: bool = False  # the instrument gives it only in a request of its own
    scale_at: Address | None = None  # where the factor stands that the value is multiplied with
    exponent: bool = True  # what stands there is a power of ten, not the factor itself
    # of an enumeration: (number, name); of a bit field: (bit, name)
    labels: tuple[tuple[int, str], ...] = field(default=(), repr=False)


Labels = dict[Annotated[int, Field(ge=0)], Annotated[str, Field(min_length=1, max_length=64)]]


class ScaleFrom(Options):
    """A register that says what a value is to be multiplied with, as SunSpec's scale factors do."""

    wire_register: int = Field(alias="register", ge=0, le=65_535, description="address on the wire, counted from 0")
    type: Literal[Type.INT16, Type.UINT16, Type.INT32, Type.UINT32, Type.FLOAT32, Type.FLOAT64] = Field(
        Type.INT16, description="how the register is meant"
    )
    meaning: Literal["exponent", "multiplier"] = Field(
        "exponent", description="exponent: value × 10^register (0x8000: none); multiplier: value × register"
    )

    @model_validator(mode="after")
    def _check_exponent(self) -> ScaleFrom:
        if self.meaning == "exponent" and self.type in FLOATS:
            raise ValueError("an exponent is an integer: leave out type, or say meaning: multiplier")
        return self


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
    invalid: tuple[int, ...] = Field((), description="raw values that mean 'not available', such as [0x8000]")
    alone: bool = Field(False, description="true: the instrument gives this value only in a request of its own")
    scale_from: ScaleFrom | None = Field(
        None, description="{register: 40}: where the power of ten, or the factor, stands that belongs to this value"
    )
    enum: Labels = Field({}, description="names of the numbers, {0: idle, 1: running}; the tag is then a text")
    bits: Labels = Field({}, description="names of the bits of a bitfield, 0 is the least significant")

    @property
    def words(self) -> int:
        """Registers that the value takes."""
        return WORDS.get(self.type, self.length or 1)

    @model_validator(mode="after")
    def _check_registers(self) -> ModbusTag:
        if self.type is Type.STRING and self.length is None:
            raise ValueError("type: string needs length: how many registers it takes, two characters each")
        if self.length is not None and self.type is not Type.STRING:
            raise ValueError(f"length belongs to type: string; type: {self.type} has a length of its own")
        if self.wire_register + self.words > 65_536:
            raise ValueError(f"register {self.wire_register} and the {self.words - 1} behind it go beyond 65535")
        most = (1 << 16 * self.words) - 1
        least = -(most // 2) - 1 if self.type in SIGNED else 0
        for value in self.invalid:
            if not least <= value <= most:
                raise ValueError(_no_raw_value(value, self.type, most))
        if self.bits and self.type not in BITFIELDS:
            raise ValueError("bits names the bits of type: bitfield16 or bitfield32")
        if any(bit >= 16 * self.words for bit in self.bits):
            raise ValueError(f"bits of type: {self.type} go from 0 to {16 * self.words - 1}")
        if self.enum and self.type in (*FLOATS, *BITFIELDS, Type.BIT, Type.STRING):
            raise ValueError("enum names whole numbers: it goes with integer types")
        return self

    def value_kind(self, device: DeviceOptions) -> Kind:
        """Kind.FLOAT for whatever is scaled, Kind.INT for plain integers, BOOL for bits, TEXT for strings."""
        if self.kind:
            return self.kind
        if self.type is Type.STRING or self.enum or self.bits:
            return Kind.TEXT
        if self.type is Type.BIT or (self.function or _modbus(device).function) in (1, 2):
            return Kind.BOOL
        if self.type in FLOATS or self.scale != 1 or self.offset != 0 or self.scale_from:
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
        self._check_kind(device, bits)
        return Address(
            function=function,
            register=self.wire_register,
            words=1 if bits else self.words,
            type=Type.BIT if bits else self.type,
            byte_order=self.byte_order or device.byte_order,
            word_order=self.word_order or device.word_order,
            bit=self.bit or 0,
            invalid=tuple(value & (1 << 16 * self.words) - 1 for value in self.invalid),
            alone=self.alone,
            scale_at=self._scale_address(self.scale_from, function, device) if self.scale_from else None,
            exponent=self.scale_from is None or self.scale_from.meaning == "exponent",
            labels=tuple(sorted((self.enum or self.bits).items())),
        )

    def wraps_at(self) -> float | None:
        """What was said, else where the registers of a counter are full."""
        if self.wrap or self.type not in COUNTERS or self.scale_from or self.offset or self.scale < 0 or self.enum:
            return self.wrap
        return (1 << 16 * self.words) * self.scale

    def names_of_numbers(self) -> Mapping[int, str]:
        """The names of ``enum``, by number."""
        return dict(sorted(self.enum.items()))

    def names_of_bits(self) -> Mapping[int, str]:
        """The names of ``bits``, by bit."""
        return dict(sorted(self.bits.items()))

    def _check_kind(self, device: ModbusDevice, bits: bool) -> None:
        kind, allowed = self.value_kind(device), _KINDS.get(Type.BIT if bits else self.type)
        if self.scale_from:
            allowed = (Kind.FLOAT,)
        elif self.enum:
            allowed = (Kind.TEXT, Kind.INT)
        if kind not in (allowed or (Kind.INT, Kind.FLOAT, Kind.BOOL)):
            names = ", ".join(allowed or (Kind.INT, Kind.FLOAT, Kind.BOOL))
            raise ValueError(f"kind: {kind} cannot hold this type; allowed: {names}")
        if bits and (self.scale_from or self.enum or self.bits):
            raise ValueError("scale_from, enum and bits are for registers, not for coils and inputs")
        if self.scale_from and self.type in (Type.BIT, Type.STRING, *BITFIELDS):
            raise ValueError("scale_from is for numbers")
        if kind is Kind.TEXT and (self.scale != 1 or self.offset != 0):
            raise ValueError("a text has no scale or offset; say kind: int, or leave them out")

    def _scale_address(self, factor: ScaleFrom, function: int, device: ModbusDevice) -> Address:
        return Address(
            function=function,
            register=factor.wire_register,
            words=WORDS[factor.type],
            type=factor.type,
            byte_order=self.byte_order or device.byte_order,
            word_order=self.word_order or device.word_order,
            bit=0,
            invalid=(),
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


def _no_raw_value(value: int, kind: Type, most: int) -> str:
    """Why it cannot stand in the registers, and for a float what does."""
    sentence = f"invalid takes raw values from 0 to 0x{most:X} for type: {kind}; {value} is none"
    if kind in FLOATS:
        raw = struct.pack({Type.FLOAT16: ">e", Type.FLOAT32: ">f", Type.FLOAT64: ">d"}[kind], value)
        sentence += f"; the number {value} stands there as 0x{raw.hex().upper()}"
    return sentence


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


Milliseconds = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)]
BaudRate = Annotated[int, Field(ge=300, le=4_000_000)]


class ModbusLink(LinkOptions):
    """What all ways to reach Modbus devices have in common."""

    timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(1.0, description="longest time to wait for an answer")
    connect_pause_ms: Milliseconds = Field(0.0, description="quiet time between the connection and the first request")
    pause_ms: Milliseconds = Field(0.0, description="least quiet time between an answer and the next request")
    turnaround_ms: Milliseconds = Field(0.0, description="least quiet time before a request to another unit")
    retry_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        300.0, description="how often to try values again that the device refuses to give"
    )
    devices: tuple[ModbusDevice, ...] = Field(min_length=1)


class _Network(ModbusLink):
    host: str = Field(pattern=r"^[^\s/]+$", description="IP address or host name")
    port: int = Field(502, ge=0, le=65_535)
    baud_rate: BaudRate | None = Field(
        None, description="of the bus behind a converter: check then says how busy the bus is"
    )


class ModbusTcp(_Network):
    """One Modbus TCP session."""

    type: Literal["modbus-tcp"]


class ModbusUdp(_Network):
    """Modbus TCP's frames in datagrams."""

    type: Literal["modbus-udp"]


class ModbusRtuOverTcp(_Network):
    """RTU frames through a transparent converter (a serial server)."""

    type: Literal["modbus-rtu-over-tcp"]

    @model_validator(mode="after")
    def _check_addresses(self) -> ModbusRtuOverTcp:
        _check_bus(self)
        return self


class ModbusTlsFiles(Options):
    """Certificates of a TLS connection; the other side's certificate and name are always verified."""

    ca_file: str | None = Field(None, description="authority that signed the device's certificate; default: system's")
    cert_file: str | None = Field(None, description="own certificate, where the device asks for one")
    key_file: str | None = Field(None, description="key of the own certificate; default: it is in cert_file")
    server_name: str | None = Field(None, description="name in the device's certificate; default: host")

    @model_validator(mode="after")
    def _key_has_certificate(self) -> ModbusTlsFiles:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file: the certificate that belongs to the key")
        return self


class ModbusTls(_Network):
    """One Modbus/TCP Security session."""

    type: Literal["modbus-tls"]
    port: int = Field(802, ge=0, le=65_535)
    tls: ModbusTlsFiles = Field(ModbusTlsFiles(), description="certificates")


class ModbusRtu(ModbusLink):
    """One serial bus."""

    type: Literal["modbus-rtu"]
    port: str = Field(min_length=1, description="serial port, best by /dev/serial/by-id/…: that name never changes")
    baud_rate: BaudRate = Field(9600, description="speed in bits per second, as in every device of the bus")
    parity: Literal["none", "even", "odd"] = Field("none", description="as in every device of the bus")
    data_bits: Literal[7, 8] = Field(8, description="RTU wants 8")
    stop_bits: Literal[1, 2] = Field(1, description="as in every device of the bus")

    @model_validator(mode="after")
    def _check_addresses(self) -> ModbusRtu:
        _check_bus(self)
        return self


def _check_bus(link: ModbusLink) -> None:
    for device in link.devices:
        if device.address == 0:
            raise ValueError(f"{device.id} has address 0, which speaks to all of a bus and is answered by none; 1-247")


LINKS: dict[str, type[ModbusLink]] = {
    "modbus-tcp": ModbusTcp,
    "modbus-rtu": ModbusRtu,
    "modbus-rtu-over-tcp": ModbusRtuOverTcp,
    "modbus-udp": ModbusUdp,
    "modbus-tls": ModbusTls,
}
"""What a link says in ``type`` → its options."""
