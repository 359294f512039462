"""Line protocol read back, written from InfluxData's reference and from nothing of ours.

https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

from dataclasses import dataclass

FieldValue = float | int | bool | str


class Malformed(ValueError):
    """Not line protocol."""


@dataclass(frozen=True, slots=True)
class Point:
    """One line."""

    measurement: str
    tags: tuple[tuple[str, str], ...]  # in the order they were written
    fields: dict[str, FieldValue]
    time_ns: int


def parse_lines(text: bytes) -> list[Point]:
    """Every line, each ended by a line feed."""
    if not text.endswith(b"\n"):
        raise Malformed("the last line is not ended")
    return [parse_line(line.decode("utf-8")) for line in text[:-1].split(b"\n")]


def parse_line(line: str) -> Point:
    """One line, character by character."""
    if line.startswith("#"):
        raise Malformed("a comment")
    measurement, at = _name(line, 0, ", ")
    tags = []
    while line[at] == ",":
        key, at = _name(line, at + 1, ",= ")
        if line[at] != "=":
            raise Malformed(f"tag {key!r} without a value")
        value, at = _name(line, at + 1, ",= ")
        if not key or not value or line[at] == "=":
            raise Malformed(f"tag {key!r}={value!r}")
        tags.append((key, value))
    fields: dict[str, FieldValue] = {}
    while True:
        key, at = _name(line, at + 1, ",= ")
        if line[at] != "=" or not key or key in fields:
            raise Malformed(f"field {key!r}")
        fields[key], at = _field_value(line, at + 1)
        if line[at] == " ":
            break
        if line[at] != ",":
            raise Malformed(f"{line[at]!r} after field {key!r}")
    if not measurement or len({key for key, _ in tags}) != len(tags):
        raise Malformed("no measurement or a tag twice")
    return Point(measurement, tuple(tags), fields, int(line[at + 1 :]))


def _name(line: str, at: int, ends: str) -> tuple[str, int]:
    """Measurement, tag key, tag value, field key: a backslash escapes comma, equals sign and space, nothing else."""
    found = []
    while at < len(line):
        if line[at] == "\\" and at + 1 < len(line) and line[at + 1] in ",= ":
            found.append(line[at + 1])
            at += 2
        elif line[at] in ends:
            return "".join(found), at
        else:
            found.append(line[at])
            at += 1
    raise Malformed("the line ends in a name")


def _field_value(line: str, at: int) -> tuple[FieldValue, int]:
    if line[at] == '"':
        return _string(line, at + 1)
    end = min(i for i in (line.find(",", at), line.find(" ", at)) if i >= 0)
    text = line[at:end]
    if text in ("true", "false"):
        return text == "true", end
    if text.endswith("i"):
        number = int(text[:-1])
        if not -(2**63) <= number < 2**63:
            raise Malformed(f"{text} is not an int64")
        return number, end
    if text.lower().lstrip("-") in ("nan", "inf", "infinity"):
        raise Malformed(f"{text} is not a number")
    return float(text), end


def _string(line: str, at: int) -> tuple[str, int]:
    """A quoted string: a backslash escapes a quote and a backslash, nothing else."""
    found = []
    while line[at] != '"':
        if line[at] == "\\" and line[at + 1] in '"\\':
            at += 1
        found.append(line[at])
        at += 1
    return "".join(found), at + 1
