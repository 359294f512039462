"""How manuals write addresses, and what they are on the wire. Pure.

Three notations are in use: counted from 0 as on the wire, counted from 1, and "4xxxx", where the first digit says the
table (0 coils, 1 discrete inputs, 3 input registers, 4 holding registers) and the rest counts from 1.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, get_args

Base: TypeAlias = Literal["0", "1", "4xxxx"]
BASES: tuple[Base, ...] = get_args(Base)

FUNCTIONS = {"0": 1, "1": 2, "3": 4, "4": 3}
"""First digit → function code."""

_DIGITS = {function: digit for digit, function in FUNCTIONS.items()}
_PREFIXED = re.compile(r"([0134])(\d{4}|\d{5})")


def detected(text: str) -> Base:
    """The notation that a number by itself looks like: five or six digits that begin with 0, 1, 3 or 4.

    >>> detected("40001"), detected("3027"), detected("0x0BD3"), detected("465536")
    ('4xxxx', '0', '0', '4xxxx')
    """
    match = _PREFIXED.fullmatch(text.strip())
    return "4xxxx" if match and 1 <= int(match[2]) <= 65_536 else "0"


def parse_register(text: str, base: Base | None = None) -> tuple[int | None, int]:
    """(function code where the notation says it, address on the wire). Raises ValueError with a sentence.

    >>> parse_register("40001"), parse_register("3028", "1"), parse_register("0x0BD3"), parse_register("30070")
    ((3, 0), (None, 3027), (None, 3027), (4, 69))
    """
    text = text.strip()
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,4}", text) and base in (None, "0"):
        return None, int(text, 16)
    if not re.fullmatch(r"\d{1,6}", text):
        raise ValueError(f'"{text}" is no address; allowed: a whole number, or 0x and hexadecimal digits')
    if (base or detected(text)) == "4xxxx":
        match = _PREFIXED.fullmatch(text)
        if not match or not 1 <= int(match[2]) <= 65_536:
            raise ValueError(
                f'"{text}" is not in 4xxxx notation; allowed: '
                "00001-09999, 10001-19999, 30001-39999, 40001-49999, or six digits"
            )
        return FUNCTIONS[match[1]], int(match[2]) - 1
    lowest = 1 if base == "1" else 0
    number = int(text)
    if not lowest <= number <= 65_535 + lowest:
        raise ValueError(f'"{text}" is out of range; allowed: {lowest} to {65_535 + lowest}')
    return None, number - lowest


def written(function: int, register: int, base: Base) -> str:
    """The address in that notation.

    >>> written(3, 0, "4xxxx"), written(4, 65535, "4xxxx"), written(4, 69, "1"), written(1, 3, "4xxxx")
    ('40001', '365536', '70', '00004')
    """
    if base == "4xxxx":
        return f"{_DIGITS[function]}{register + 1:04d}" if register < 9999 else f"{_DIGITS[function]}{register + 1:05d}"
    return str(register + (base == "1"))
