"""Pydantic's errors → sentences that a technician understands, each with the place it is about.

In: a ValidationError, the model that was tried, the tree it was tried on. Out: mistakes. Pure.
A value is shown only where the model says what it is and that it is not a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from unicodedata import normalize

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from gateway.core.errors import Mistake
from gateway.settings.tree import Node


@dataclass(slots=True)
class Mistakes:
    """Every mistake so far, each once."""

    found: dict[Mistake, None] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)  # in the order they were read

    def read(self, file: str) -> None:
        """From here on ``file`` is being read: its mistakes come after those of earlier files."""
        self.files.setdefault(file, len(self.files))

    def add(self, node: Node, key: str, message: str) -> None:
        """Something is wrong at ``node``."""
        self.found[Mistake(node.file, node.line, key, message)] = None

    def extend(self, mistakes: Iterable[Mistake]) -> None:
        """Several at once."""
        self.found |= dict.fromkeys(mistakes)

    def in_order(self) -> list[Mistake]:
        """By file as read, then by line."""
        last = len(self.files)
        return sorted(self.found, key=lambda mistake: (self.files.get(mistake.file, last), mistake.line))


def translate(error: ValidationError, model: type[BaseModel], tree: Node, within: str = "") -> Iterator[Mistake]:
    """The mistakes of ``tree``, which was to become a ``model`` and stands under the key ``within``."""
    details = error.errors(include_url=False, include_input=False)
    misspelt = {_nearest_key(model, detail) for detail in details if detail["type"] == "extra_forbidden"}
    for detail in details:
        if detail["type"] == "missing" and detail["loc"] in misspelt:
            continue  # "did you mean …" says it already
        loc = detail["loc"]
        if detail["type"] == "missing" and isinstance(loc[-1], int):
            loc = loc[:-1]  # one of a pair is missing: the pair is what people see
        spot = _Spot(tree, within)
        for piece in loc:
            spot.descend(piece)
        if detail["type"] == "too_short" and len(spot.node.items) >= detail["ctx"]["min_length"]:
            continue  # pydantic does not count items that are mistaken themselves
        where = model_at(model, loc)
        yield Mistake(spot.node.file, spot.node.line, spot.key, _sentence(detail, where, spot))


def _nearest_key(model: type[BaseModel], detail: ErrorDetails) -> tuple[str | int, ...]:
    """Where the key that was probably meant would stand."""
    near = _nearest_of(str(detail["loc"][-1]), model_at(model, detail["loc"]).keys)
    return (*detail["loc"][:-1], near)


def at(tree: Node, loc: Sequence[str | int], within: str = "") -> tuple[Node, str]:
    """The node at ``loc`` or the nearest one above it, and the key to call it by."""
    spot = _Spot(tree, within)
    for piece in loc:
        spot.descend(piece)
    return spot.node, spot.key


def type_errors(error: ValidationError, tree: Node) -> list[Node]:
    """The texts from the environment that are to be read as something other than text."""
    wrong = (detail for detail in error.errors(include_url=False, include_input=False) if detail["type"] in _NOT_TEXT)
    nodes = (at(tree, detail["loc"])[0] for detail in wrong)
    return [node for node in nodes if node.from_text]


class _Spot:
    """A place in the tree and its dotted key.

    What a device has from its template is called as the template calls it: ``tags[voltage].unit``.
    """

    def __init__(self, tree: Node, within: str) -> None:
        self.node = tree
        self.absent = False
        self._file = tree.file
        self._within = within
        self._steps: list[str] = []
        self._device = 0  # how many steps lead to the device

    @property
    def key(self) -> str:
        if self.node.file != self._file and self.node.line:
            return "".join(self._steps[self._device :]).removeprefix(".")
        return (self._within + "".join(self._steps)).removeprefix(".")

    def descend(self, piece: str | int) -> None:
        if isinstance(piece, int):
            child = self.node.items[piece] if piece < len(self.node.items) else None
            self._steps.append(_item_name(child, piece))
            if self._steps[-2:-1] == [".devices"]:
                self._device = len(self._steps)
        else:
            child = self.node.map.get(piece)
            self._steps.append(f".{piece}")
        if child is None:
            self.absent = True
        else:
            self.node = child


def _item_name(item: Node | None, index: int) -> str:
    name = item and (item.text("id") or item.text("name"))
    return f"[{name}]" if name else f"[#{index + 1}]"


# ---------------------------------------------------------------------------------- what the model says about it


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What may stand at a place."""

    annotation: Any = None
    info: FieldInfo | None = None
    keys: tuple[str, ...] = ()  # of the map that holds it

    @property
    def secret(self) -> bool:
        return self.annotation is SecretStr


def model_at(model: type[BaseModel], loc: Sequence[str | int]) -> Expected:
    """What the model expects at ``loc``."""
    return _model_at(model, tuple(0 if isinstance(piece, int) else piece for piece in loc))


@lru_cache(maxsize=4096)  # ten thousand mistakes tend to be one mistake ten thousand times
def _model_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> Expected:
    expected = Expected(model)
    for piece in loc:
        annotation = expected.annotation
        if isinstance(piece, int):
            inner = [part for part in get_args(annotation) if part is not Ellipsis]
            expected = Expected(_bare(inner[0] if inner else None), expected.info)
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields = {info.alias or name: info for name, info in annotation.model_fields.items()}
            info = fields.get(piece)
            expected = Expected(_bare(info.annotation) if info else None, info, tuple(fields))
        elif isinstance(get_origin(annotation), type) and issubclass(get_origin(annotation) or object, Mapping):
            expected = Expected(_bare(get_args(annotation)[1]), expected.info)
        else:
            return Expected()
    return expected


def _bare(annotation: Any) -> Any:
    """Without Annotated and None."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _allowed(expected: Expected) -> tuple[str, ...]:
    annotation = expected.annotation
    if get_origin(annotation) is Literal:
        return tuple(str(value) for value in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(str(member.value) for member in annotation)
    return ()


def _limits(expected: Expected) -> str:
    """``0 to 65535``, from the constraints of the field."""
    bounds: dict[str, float] = {}
    for constraint in _constraints(expected.info):
        for sign in ("ge", "gt", "le", "lt"):
            if isinstance(constraint, (Ge, Gt, Le, Lt)) and hasattr(constraint, sign):
                bounds[sign] = getattr(constraint, sign)
    if "ge" in bounds and "le" in bounds:
        return f"{_number(bounds['ge'])} to {_number(bounds['le'])}"
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return " and ".join(f"{words[sign]} {_number(bounds[sign])}" for sign in words if sign in bounds)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _constraints(part: Any) -> Iterator[Any]:
    """Those of a field, also where they hide inside ``Annotated[…] | None``."""
    if isinstance(part, FieldInfo):
        yield from part.metadata
        yield from _constraints(part.annotation)
    elif get_origin(part) is Annotated:
        for meta in get_args(part)[1:]:
            yield from meta.metadata if isinstance(meta, FieldInfo) else [meta]
    elif get_origin(part) in (Union, UnionType):
        for inner in get_args(part):
            yield from _constraints(inner)


# -------------------------------------------------------------------------------------------------- the sentences


ALSO_CALLED = {
    "float": "float32", "real": "float32", "single": "float32", "double": "float64", "int": "int16", "short": "int16",
    "uint": "uint16", "word": "uint16", "dword": "uint32", "long": "int32", "dint": "int32", "bool": "bit",
    "text": "string", "char": "string", "rtu": "modbus-rtu", "tcp": "modbus-tcp", "modbus": "modbus-tcp",
    "adress": "address", "slave": "address", "slave_id": "address", "unit_id": "address", "ip": "host",
    "baudrate": "baud_rate", "factor": "scale", "interval_s": "period_s",
}  # fmt: skip
"""Words that manuals and other programs use for what is called otherwise here."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean "scale"?``, or the list of what is allowed where nothing comes near."""
    names = tuple(known)
    if near := _nearest_of(word, names):
        return f'; did you mean "{near}"?'
    return f"; allowed: {', '.join(names[:40])}{', …' if len(names) > 40 else ''}" if names else ""


@lru_cache(maxsize=4096)
def _nearest_of(word: str, known: tuple[str, ...]) -> str:
    """The known word that comes nearest; empty where none comes near."""
    by_lower = {name.lower(): name for name in known}
    if (also := ALSO_CALLED.get(word.lower())) in known:
        return also
    if word and len(begun := [name for lower, name in by_lower.items() if lower.startswith(word.lower())]) == 1:
        return begun[0]
    if len(word) > 2 and len(around := [name for lower, name in by_lower.items() if word.lower() in lower]) == 1:
        return around[0]
    near = get_close_matches(word[:80].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else ""


def _sentence(detail: ErrorDetails, expected: Expected, spot: _Spot) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden" and spot.node.value is None and str(detail["loc"][-1]).isdigit():
        return "a number on its own: decimals are written with a point, 0.1 and not 0,1"
    if kind == "extra_forbidden":
        return "unknown key" + did_you_mean(str(detail["loc"][-1]), expected.keys)
    if kind == "missing" and isinstance(detail["loc"][-1], int):
        return f"has {len(spot.node.items)} of its entries only{_about(expected)}"
    if kind == "missing":
        return "is missing" + _about(expected)
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    shown = "" if expected.secret or spot.absent else show(spot.node)
    maker = _SENTENCES.get(kind)
    return maker(shown, detail.get("ctx", {}), expected) if maker else f"{shown}: {detail['msg']}"


def show(node: Node) -> str:
    """The value as written, short, without the password of a URL."""
    value = node.value
    if isinstance(value, dict):
        return "a map of keys"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = re.sub(r"//[^/@\s]*@", "//…@", str(value))
    text = text if len(text) <= 60 else text[:57] + "…"
    return f'"{text}"' if isinstance(value, str) else text


def _about(expected: Expected) -> str:
    allowed = _allowed(expected)
    if allowed:
        return "; allowed: " + ", ".join(allowed)
    return f"; {expected.info.description}" if expected.info and expected.info.description else ""


def _wanted(noun: str) -> Callable[[str, dict[str, Any], Expected], str]:
    def sentence(shown: str, ctx: dict[str, Any], expected: Expected) -> str:
        hint = ""
        if noun in ("a list", "a map of keys"):
            # not the value itself: it may be a secret in a wrong place
            shown = "text" if shown.startswith('"') else "a number" if shown[-1:].isdigit() else shown
            hint = _about(expected) if expected.keys else ""  # of a key, not of one thing in a list
        elif "number" in noun and re.fullmatch(r'"[-+]?[0-9.]+(e[-+]?\d+)?"', shown):
            hint = "; leave out the quotes"
        elif "number" in noun and re.fullmatch(r'"[-+]?\d+,\d+"', shown):
            hint = f"; write {shown[1:-1].replace(',', '.')}"
        elif "number" in noun and re.fullmatch(r'"[-+]?[0-9.]+( +[-+]?[0-9.]+)+"', shown):
            hint = "; put commas between numbers"
        elif noun == "true or false" and shown.strip('"').lower() in _SAID:
            hint = f"; write {_SAID[shown.strip(chr(34)).lower()]}"
        elif noun == "text" and shown not in ("a map of keys", "a list", "nothing"):
            hint = "; put it in quotes"
        limits = _limits(expected) if "number" in noun else ""
        return f"must be {noun}{f' ({limits})' if limits else ''}{f', not {shown}' if shown else ''}{hint}"

    return sentence


_SAID = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def _not_allowed(shown: str, ctx: dict[str, Any], expected: Expected) -> str:
    allowed = _allowed(expected)
    text = shown.strip('"')
    hint = ""
    if text in allowed:
        hint = "; leave out the quotes" if shown.startswith('"') else f'; write "{text}" in quotes'
    elif shown.startswith('"') and (near := _nearest_of(text, allowed)):
        hint = f'; did you mean "{near}"?'
    return f"{shown} is not allowed; allowed: {', '.join(allowed)}{hint}"


def _out_of_range(shown: str, ctx: dict[str, Any], expected: Expected) -> str:
    return f"{shown} is out of range; allowed: {_limits(expected)}"


def _pattern(shown: str, ctx: dict[str, Any], expected: Expected) -> str:
    pattern = ctx.get("pattern", "")
    if shown == '""':
        return "is empty" + _about(expected)
    if pattern == SLUG:
        plain = normalize("NFKD", shown.strip('"')).encode("ascii", "ignore").decode()  # ü becomes u
        slug = re.sub(r"[^a-z0-9_-]+", "-", plain.lower()).strip("-_")
        near = f'; did you mean "{slug}"?' if slug else ""
        return f"{shown} cannot be a name; allowed: lower-case letters a-z, digits, - and _, no blanks{near}"
    if pattern == UNIT:
        return f"{shown} is not a UCUM code; allowed: printable ASCII without blanks, such as Cel, bar, kW.h, L/min"
    about = expected.info.description if expected.info else ""
    return f"{shown} does not fit; allowed: {about or 'what matches ' + pattern}"


SLUG = r"^[a-z0-9][a-z0-9_-]*$"
UNIT = r"^[!-~]+$"

_NOT_TEXT = {
    "int_type", "float_type", "bool_type", "tuple_type", "list_type", "dict_type", "mapping_type", "model_type",
    "model_attributes_type", "decimal_type",
}  # fmt: skip

_SENTENCES: dict[str, Callable[[str, dict[str, Any], Expected], str]] = {
    "string_type": _wanted("text"),
    "int_type": _wanted("a whole number"),
    "int_from_float": _wanted("a whole number"),
    "int_parsing_size": _wanted("a whole number"),
    "float_type": _wanted("a number"),
    "finite_number": _wanted("a finite number"),
    "bool_type": _wanted("true or false"),
    "tuple_type": _wanted("a list"),
    "list_type": _wanted("a list"),
    "dict_type": _wanted("a map of keys"),
    "mapping_type": _wanted("a map of keys"),
    "model_type": _wanted("a map of keys"),
    "model_attributes_type": _wanted("a map of keys"),
    "enum": _not_allowed,
    "literal_error": _not_allowed,
    "greater_than": _out_of_range,
    "greater_than_equal": _out_of_range,
    "less_than": _out_of_range,
    "less_than_equal": _out_of_range,
    "string_pattern_mismatch": _pattern,
    "string_too_short": lambda shown, ctx, expected: (
        "is empty" + _about(expected)
        if ctx["min_length"] == 1
        else f"{shown} is too short; at least {ctx['min_length']} characters"
    ),
    "string_too_long": lambda shown, ctx, expected: f"{shown} is too long; at most {ctx['max_length']} characters",
    "too_short": lambda shown, ctx, expected: (
        f"has {ctx['actual_length']} entries; at least {ctx['min_length']}{_about(expected)}"
    ),
    "too_long": lambda shown, ctx, expected: (
        f"has {ctx['actual_length']} entries; at most {ctx['max_length']}{_about(expected)}"
    ),
}
