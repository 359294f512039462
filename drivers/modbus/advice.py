"""What is allowed on a Modbus link but is nearly always a slip: for ``check``. Pure.

In: a link as a line file describes it. Out: sentences for a technician.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations

from drivers.modbus.notation import FUNCTIONS, detected, parse_register
from drivers.modbus.options import Address, ModbusDevice, ModbusRtu
from gateway.core.model import Device, Link


def advise(link: Link) -> Iterator[str]:
    """One sentence per thing to look at again."""
    if isinstance(link.options, ModbusRtu) and re.fullmatch(r"/dev/tty(USB|ACM)\d+", link.options.port):
        yield f"{link.options.port} may be another adapter tomorrow: ls -l /dev/serial/by-id/ shows names that stay"
    devices = [device for device in link.devices if device.enabled]
    for device in devices:
        yield from _manual_notation(device)
    for one, other in combinations(devices, 2):
        if _unit(one) == _unit(other) and _places(one) & _places(other):
            both = f"{one.id} and {other.id}"
            yield f"{both} have address {_unit(one)} and read the same registers: two names for one device"


def _manual_notation(device: Device) -> Iterator[str]:
    """Addresses that stand there as in a manual; a template says on purpose what it says, SunSpec begins at 40000."""
    if device.template:
        return
    for tag in device.tags:
        if isinstance(at := tag.address, Address) and at.function in (3, 4) and 30_001 <= at.register <= 49_999:
            text = str(at.register)
            if detected(text) == "4xxxx" and FUNCTIONS[text[0]] in (3, 4):
                function, register = parse_register(text)
                yield (
                    f"{device.id}: {tag.name} reads address {text} on the wire; if {text} is what the manual calls it, "
                    f"write register: {register}, function: {function}"
                )
                return  # once per device


def _unit(device: Device) -> int:
    return device.options.address if isinstance(device.options, ModbusDevice) else 0


def _places(device: Device) -> set[tuple[int, int, int]]:
    """(function, register, bit) of its tags."""
    return {(a.function, a.register, a.bit) for tag in device.tags if isinstance(a := tag.address, Address)}
