"""How good a value is: OPC UA StatusCodes (Part 4, 7.39 and Part 8) and the three words made of them.

For an OPC UA tag the status is the server's own code; for everything else it is one of :class:`Status`.
"""

from enum import IntEnum, StrEnum

GOOD = 0


class Quality(StrEnum):
    """The word for people; the top two bits of a StatusCode."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


class Status(IntEnum):
    """The StatusCodes this gateway gives by itself (uint32, OPC UA Part 6, annex A.2)."""

    GOOD = GOOD
    GOOD_LOCAL_OVERRIDE = 0x0096_0000
    UNCERTAIN = 0x4000_0000
    UNCERTAIN_LAST_USABLE_VALUE = 0x4090_0000
    UNCERTAIN_SENSOR_NOT_ACCURATE = 0x4093_0000
    UNCERTAIN_ENGINEERING_UNITS_EXCEEDED = 0x4094_0000
    BAD_RESOURCE_UNAVAILABLE = 0x8004_0000
    BAD_COMMUNICATION_ERROR = 0x8005_0000
    BAD_NO_COMMUNICATION = 0x8031_0000
    BAD_WAITING_FOR_INITIAL_DATA = 0x8032_0000
    BAD_NODE_ID_UNKNOWN = 0x8034_0000
    BAD_TYPE_MISMATCH = 0x8074_0000
    BAD_CONFIGURATION_ERROR = 0x8089_0000
    BAD_DEVICE_FAILURE = 0x808B_0000
    BAD_SENSOR_FAILURE = 0x808C_0000
    BAD_OUT_OF_SERVICE = 0x808D_0000


_WORDS = (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.BAD)
_NUMBERS = (192, 64, 0, 0)


def quality(status: int) -> Quality:
    """The word for a StatusCode.

    >>> quality(Status.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED)
    <Quality.UNCERTAIN: 'uncertain'>
    """
    return _WORDS[status >> 30]


def quality_number(status: int) -> int:
    """The OPC DA number dashboards expect: 192 good, 64 uncertain, 0 bad."""
    return _NUMBERS[status >> 30]


def is_bad(status: int) -> bool:
    """Whether a value with this status must not be used (its value is then null)."""
    return status >= 0x8000_0000


def worst(first: int, second: int) -> int:
    """The more severe of two statuses; the first where they are equally severe.

    >>> worst(Status.GOOD, Status.BAD_SENSOR_FAILURE) == Status.BAD_SENSOR_FAILURE
    True
    """
    return second if second >> 30 > first >> 30 else first
