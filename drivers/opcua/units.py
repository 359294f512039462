"""Units as OPC UA servers tell them (EUInformation, Part 8, 5.6.4.3) → UCUM. Pure; knows no library.

A unit is told as the letters of its common code in UNECE Recommendation 20, packed into one number. Servers that do
not know the number often know at least the sign that people read.
"""

from __future__ import annotations

UNECE = "http://www.opcfoundation.org/UA/units/un/cefact"  # whose numbers mean what is said below

_BY_CODE = """
CEL Cel|KEL K|FAH [degF]
BAR bar|MBR mbar|PAL Pa|A97 hPa|KPA kPa|MPA MPa|PS [psi]|ATM atm|HN mm[Hg]|HP mm[H2O]
MTR m|CMT cm|MMT mm|4H um|C45 nm|KMT km|INH [in_i]|FOT [ft_i]|MTK m2|CMK cm2|MMK mm2
MTQ m3|DMQ dm3|CMQ cm3|LTR L|MLT mL|4G uL|HLT hL|GLL [gal_us]
KGM kg|GRM g|MGM mg|MC ug|TNE t|LBR [lb_av]|C34 mol|C18 mmol
SEC s|C26 ms|B98 us|MIN min|HUR h|DAY d|WEE wk|ANN a|HTZ Hz|KHZ kHz|MHZ MHz|RPM r/min|RPS r/s
VLT V|2Z mV|KVT kV|AMP A|4K mA|B84 uA|B22 kA|OHM Ohm|B49 kOhm|B75 MOhm|FAR F|4O uF|SIE S|COU C|AMH A.h
WTT W|C31 mW|KWT kW|MAW MW|D46 V.A|KVA kV.A|D44 var|KVR kvar
JOU J|KJO kJ|3B MJ|WHR W.h|KWH kW.h|MWH MW.h|K3 kvar.h|NEW N|B47 kN|NU N.m|B48 kN.m
KGS kg/s|F31 kg/min|E93 kg/h|F29 g/s|F28 g/min|F27 g/h|E18 t/h
MQS m3/s|G53 m3/min|MQH m3/h|G51 L/s|L2 L/min|E32 L/h|41 mL/min|G55 mL/h
MTS m/s|2M cm/s|C16 mm/s|2X m/min|KMH km/h|MSK m/s2|C81 rad|C25 mrad|DD deg
KMQ kg/m3|23 g/cm3|B35 kg/L|GL g/L|M1 mg/L|GP mg/m3|GQ ug/m3|C36 mol/m3|C38 mol/L|M33 mmol/L
59 [ppm]|61 [ppb]|P1 %|NX [ppth]|Q30 [pH]|C62 1
C65 Pa.s|C24 mPa.s|C7 cP|S4 m2/s|C17 mm2/s|4C cSt|D10 S/m|H61 mS/cm|G42 uS/cm
D53 W/(m.K)|D54 W/m2|LUX lx|2N dB|D33 T|C29 mT
"""

_BY_SIGN = """
°C Cel|℃ Cel|°F [degF]|K K|bar bar|mbar mbar|Pa Pa|hPa hPa|kPa kPa|MPa MPa|psi [psi]
%  %|% or pct %|ppm [ppm]|ppb [ppb]|pH [pH]|m m|cm cm|mm mm|µm um|kg kg|g g|mg mg|t t|L L|l L|mL mL|ml mL|m³ m3|m3 m3
s s|ms ms|min min|h h|Hz Hz|kHz kHz|rpm r/min|1/min r/min|min⁻¹ r/min|r/min r/min
V V|mV mV|kV kV|A A|mA mA|Ω Ohm|W W|kW kW|MW MW|VA V.A|kVA kV.A|var var|kvar kvar|J J|kJ kJ|Wh W.h|kWh kW.h|MWh MW.h
N N|kN kN|Nm N.m|N·m N.m|kg/s kg/s|kg/min kg/min|kg/h kg/h|g/min g/min|g/h g/h|t/h t/h|m³/h m3/h|m3/h m3/h|m³/s m3/s
L/s L/s|l/s L/s|L/min L/min|l/min L/min|L/h L/h|l/h L/h|mL/min mL/min|ml/min mL/min|mL/h mL/h|ml/h mL/h
m/s m/s|mm/s mm/s|kg/m³ kg/m3|kg/m3 kg/m3|g/cm³ g/cm3|g/L g/L|g/l g/L|mg/L mg/L|mg/l mg/L|mol/L mol/L|mol/l mol/L
Pa·s Pa.s|mPa·s mPa.s|mPas mPa.s|cP cP|mS/cm mS/cm|µS/cm uS/cm|° deg|rad rad
"""


def _table(text: str) -> dict[str, str]:
    rows = (entry.rpartition(" ") for line in text.split("\n") if line for entry in line.split("|"))
    return {told.strip(): code for told, _, code in rows}


BY_CODE = _table(_BY_CODE)
"""UNECE common code → UCUM, of what process instruments measure."""

BY_SIGN = _table(_BY_SIGN)
"""What people read → UCUM."""


def ucum(unit_id: int, sign: str = "", namespace: str = UNECE) -> str:
    """The UCUM code of an EUInformation; empty where it says none that is known.

    >>> ucum(4408652), ucum(20529), ucum(-1), ucum(-1, "μS/cm"), ucum(4408652, "l/h", "urn:vendor")
    ('Cel', '%', '', 'uS/cm', 'L/h')
    """
    if 0 < unit_id < 2**24 and namespace in (UNECE, ""):
        code = unit_id.to_bytes(3, "big").lstrip(b"\0").decode("latin-1")
        if code in BY_CODE:
            return BY_CODE[code]
    return BY_SIGN.get(sign.strip().replace("\u03bc", "\u00b5"), "")  # the Greek letter mu is not the sign of micro
