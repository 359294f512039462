"""Units of servers against the public list of UNECE codes."""

from __future__ import annotations

import csv
import re

import pytest

from drivers.opcua.units import BY_CODE, BY_SIGN, ucum
from tests.support.processes import ROOT

LIST = ROOT.parent / "shared" / "data" / "UNECE_to_OPCUA.csv"

AS_IN_UCUM = str.maketrans({"²": "2", "³": "3", "µ": "u", "·": ".", "Ω": "Ohm", "\u2126": "Ohm"})  # signs of that list
OTHERWISE = {  # in UCUM than in that list
    "Cel": "°C", "[degF]": "°F", "[psi]": "lbf/in²", "mm[Hg]": "mm Hg", "mm[H2O]": "mm H₂O", "[in_i]": "in",
    "[ft_i]": "ft", "[gal_us]": "gal (US)", "[lb_av]": "lb", "a": "y", "kg/L": "kg/l or kg/L", "[ppm]": "ppm",
    "[ppb]": "ppb", "%": "% or pct", "[ppth]": "‰", "[pH]": "pH", "deg": "°", "mol": "mol", "mmol": "mmol",
    "mol/m3": "mol/m³", "mol/L": "mol/l", "mmol/L": "mmol/l",
}  # fmt: skip


@pytest.mark.skipif(not LIST.exists(), reason=f"{LIST.name} is not at hand")
def test_every_code_means_what_the_list_says() -> None:
    with LIST.open(encoding="utf-8-sig", newline="") as stream:
        listed = {row["UNECECode"]: row for row in csv.DictReader(stream)}
    for code, unit in BY_CODE.items():
        sign = listed[code]["DisplayName"]
        assert ucum(int(listed[code]["UnitId"])) == unit, code
        assert OTHERWISE.get(unit, sign) == sign, (code, unit)
        assert unit in OTHERWISE or re.sub(r"\b([muh]?)l\b", r"\1L", sign.translate(AS_IN_UCUM)) == unit, (
            code,
            unit,
            sign,
        )


@pytest.mark.parametrize("sign", sorted(BY_SIGN))
def test_a_sign_and_a_code_lead_to_the_same_units(sign: str) -> None:
    assert BY_SIGN[sign] in BY_CODE.values()


@pytest.mark.parametrize("unit_id", [-1, 0, 2**24, 2**31 - 1, 0x585858])
def test_numbers_that_are_no_code(unit_id: int) -> None:
    assert ucum(unit_id) == ""
    assert ucum(unit_id, " ℃ ") == "Cel"
