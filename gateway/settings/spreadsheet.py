"""Tags ↔ rows of a spreadsheet. Pure, but for :func:`read_rows` and :func:`write_rows`.

Out: one row per tag, one column per key that a tag of the protocol may have; ``names`` and ``range`` take two columns
each, maps and lists stand in a cell as YAML in one line. In: the same, with English or Chinese headers, addresses in
any notation; every mistake of every row at once, as FILE:ROW: COLUMN: what is wrong.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from drivers.modbus.notation import BASES, Base, detected, parse_register, written
from gateway.core.errors import GatewayError
from gateway.core.options import DeviceOptions, TagOptions
from gateway.settings.flow import flow
from gateway.settings.lines import contradiction
from gateway.settings.translate import Mistakes, did_you_mean
from gateway.settings.tree import MAX_BYTES, Node, parse
from gateway.settings.validate import validate

Tag: TypeAlias = dict[str, Any]
"""The keys of one tag as they stand in a YAML file."""

SPLIT = {
    "name_en": ("names", "en"), "name_zh": ("names", "zh"), "range_low": ("range", 0), "range_high": ("range", 1),
}  # fmt: skip
"""Column → key and part of it."""

COLUMN_OF = {"names.en": "name_en", "names.zh": "name_zh", "range[#1]": "range_low", "range[#2]": "range_high"}
"""Key of a mistake → column, where they differ."""

FREE_TEXTS = ("unit", "description", "node", "path", "name_en", "name_zh")
"""Columns in which a spreadsheet program might see a formula."""

TEXTS = ("name", "kind", "type", "byte_order", "word_order", *FREE_TEXTS)
"""Columns whose cells are text whatever they look like."""

CHINESE = {
    "名称": "name", "标签": "name", "英文名": "name_en", "中文名": "name_zh", "地址": "register", "寄存器": "register",
    "地址基准": "address_base", "功能码": "function", "数据类型": "type", "类型": "type", "位": "bit", "长度": "length",
    "字节序": "byte_order", "字序": "word_order", "单位": "unit", "比例": "scale", "偏移": "offset",
    "量程下限": "range_low", "量程上限": "range_high", "死区": "deadband", "回零值": "wrap",
    "周期": "period_s", "值类型": "kind", "无效值": "invalid", "说明": "description", "备注": "description",
    "单独读取": "alone", "比例寄存器": "scale_from", "枚举": "enum", "位名称": "bits", "节点": "node",
}  # fmt: skip
"""Chinese header → column."""

_IN_CHINESE = {column: header for header, column in reversed(CHINESE.items())}
_FORMULA = re.compile(r"'*[=+\-@\t]")
_FORMULA_QUOTED = re.compile(r"'+[=+\-@\t]")

ORDER = (
    "name", "node", "register", "function", "type", "bit", "length", "byte_order", "word_order", "scale", "offset",
    "unit", "range",
)  # fmt: skip
"""The keys of a tag in the order in which people write them; all others come behind."""

FIRST = (
    "name", "name_en", "name_zh", "register", "node", "address_base", "function", "type", "unit", "scale", "offset",
    "range_low", "range_high",
)  # fmt: skip
"""The columns that people look for first."""


def columns_of(model: type[TagOptions]) -> tuple[str, ...]:
    """Every column that a tag of this protocol may have."""
    keys = [info.alias or name for name, info in model.model_fields.items()]
    parts = {key for key, _ in SPLIT.values()}
    columns = [*SPLIT, *(key for key in keys if key not in parts)] + ["address_base"] * ("register" in keys)
    return tuple(column for column in FIRST if column in columns) + tuple(c for c in columns if c not in FIRST)


# ---------------------------------------------------------------------------------------------------- tags → rows


def rows_of(tags: Sequence[Tag], model: type[TagOptions], base: Base, function: int) -> list[list[str]]:
    """The header and one row per tag; ``function``: what the device says for tags that do not."""
    columns = columns_of(model)
    return [list(columns), *([_cell(tag, column, base, function) for column in columns] for tag in tags)]


def in_chinese(header: Sequence[str]) -> list[str]:
    """The header in Chinese, where there is a word."""
    return [_IN_CHINESE.get(column, column) for column in header]


def _cell(tag: Tag, column: str, base: Base, function: int) -> str:
    key, part = SPLIT.get(column, (column, None))
    if column == "address_base":
        return base
    value = tag.get(key)
    if part is not None:
        value = value.get(part) if isinstance(value, dict) else value[part] if value else None
    if value is None:
        return ""
    if column == "register":
        return written(tag.get("function", function), value, base)
    if column in FREE_TEXTS and _FORMULA.match(str(value)):
        return f"'{value}"
    return str(value) if isinstance(value, str) else flow(value)


# ---------------------------------------------------------------------------------------------------- rows → tags


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a spreadsheet says."""

    tags: tuple[Tag, ...]
    base: str  # how its addresses were understood, as a sentence


def tags_of(
    rows: Sequence[Sequence[str]], file: str, model: type[TagOptions], device: DeviceOptions, mistakes: Mistakes
) -> Sheet:
    """The tags of the rows, the first of which is the header; mistakes for whatever is wrong in any of them."""
    columns = _columns(rows[0] if rows else (), file, model, mistakes)
    if mistakes.found:
        return Sheet((), "")  # every row would be told for what is wrong with the header
    found = [
        (i, dict(zip(columns, row, strict=False))) for i, row in enumerate(rows[1:], 2) if any(map(str.strip, row))
    ]
    base, how = _base([row for _, row in found])
    tags: list[Tag] = []
    seen: dict[str, int] = {}
    for i, row in found:
        place, wrong = Node(None, file, i), Mistakes()
        name = row.get("name", "").strip()
        if any(map(str.strip, rows[i - 1][len(columns) :])):
            wrong.add(place, "", "more cells than the header has columns")
        node = _node(row, base, place, device, wrong)
        further = Mistakes()
        options = validate(model, node, further)
        told = {_family(each.key) for each in wrong.found}
        wrong.extend(each for each in further.found if _family(each.key) not in told)
        if options is not None and not wrong.found:
            _check(options, device, place, wrong)
        if name and seen.setdefault(name, i) != i:
            wrong.add(place, "name", f"two tags are called {name}; the other is in row {seen[name]}")
        for each in wrong.found:
            mistakes.add(place, COLUMN_OF.get(each.key, each.key) or name, each.message)
        tags.append(node.plain())
    return Sheet(tuple(tags), how)


def _family(key: str) -> str:
    """What the mistakes of one cell have in common: ``range`` of ``range_low`` and ``range[#1]``."""
    if key == "address_base":  # without it no register can be read
        return "register"
    return re.split(r"[_\[.]", key)[0] if key.startswith(("range", "name")) else key


def _columns(header: Sequence[str], file: str, model: type[TagOptions], mistakes: Mistakes) -> list[str]:
    known = columns_of(model)
    place = Node(None, file, 1)
    columns: list[str] = []
    for cell in header:
        word = re.sub(r"[\s/]+", "_", cell.strip().lower())
        column = CHINESE.get(re.split(r"[（(_]", cell.strip())[0], word) if word not in known else word
        if word and column not in known:
            mistakes.add(place, cell.strip(), f"unknown column{did_you_mean(word, known)}")
        elif word and column in columns:
            mistakes.add(place, cell.strip(), f"a second column for {column}")
        columns.append(column)
    for key in ("name", *(key for key in ("register", "node") if key in known)):
        if key not in columns:
            mistakes.add(place, key, f"this column is missing (in Chinese: {_IN_CHINESE[key]})")
    return columns


def _base(rows: Sequence[Mapping[str, str]]) -> tuple[Base | None, str]:
    """The notation of addresses that rows without an ``address_base`` are in, and how that was decided."""
    if not any(row.get("register", "").strip() for row in rows):
        return None, ""
    if all(row.get("address_base", "").strip() for row in rows):
        return None, "addresses: as column address_base says"
    bare = [row["register"].strip() for row in rows if row.get("register", "").strip()]
    if bare and all(detected(text) == "4xxxx" for text in bare):
        return "4xxxx", "addresses: taken as 4xxxx notation, as all of them look like it"
    how = "addresses: taken as counted from 0; a column address_base (0, 1, 4xxxx) says otherwise"
    if alike := [text for text in bare if detected(text) == "4xxxx"]:
        how += f"; {', '.join(alike[:3])}{' and others' if len(alike) > 3 else ''} look like 4xxxx, the others do not"
    return "0", how


def _node(row: Mapping[str, str], base: Base | None, place: Node, device: DeviceOptions, mistakes: Mistakes) -> Node:
    """The map that a YAML file would hold."""
    entries: dict[str, Node] = {}
    said = {column: cell for column, cell in row.items() if cell.strip()}
    for column, cell in said.items():
        key, part = SPLIT.get(column, (column, None))
        if column in ("register", "address_base") or not column:
            continue
        value = _value(column, cell, place, mistakes)
        if part is None:
            entries[key] = value
        elif isinstance(part, str):
            entries[key] = entries.get(key, Node({}, place.file, place.line)).replaced(part, value)
        elif part == 0:
            both = ("range_low" in said) + ("range_high" in said)
            if both == 1:
                mistakes.add(place, "range_high", "is empty; a range has two ends")
            entries[key] = Node([value], place.file, place.line)
        elif key in entries:
            entries[key] = Node([*entries[key].items, value], place.file, place.line)
        else:
            mistakes.add(place, "range_low", "is empty; a range has two ends")
    _put_register(entries, said, base, place, device, mistakes)
    in_order = sorted(entries, key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER))
    return Node({key: entries[key] for key in in_order}, place.file, place.line)


def _value(column: str, cell: str, place: Node, mistakes: Mistakes) -> Node:
    if column in TEXTS:
        text = cell[1:] if column in FREE_TEXTS and _FORMULA_QUOTED.match(cell) else cell
        return Node(text if column in FREE_TEXTS else text.strip(), place.file, place.line)
    tree, trouble = parse(cell.strip().encode(errors="replace"), place.file)
    if tree is None or trouble:
        mistakes.add(place, column, f'"{cell.strip()[:40]}" cannot be read; a number, true, false, [a, b] or {{a: b}}')
        return Node(None, place.file, place.line)
    return _placed(tree, place)


def _placed(tree: Node, place: Node) -> Node:
    """The same, all of it in this row."""
    if isinstance(tree.value, dict):
        return Node({key: _placed(child, place) for key, child in tree.value.items()}, place.file, place.line)
    if isinstance(tree.value, list):
        return Node([_placed(child, place) for child in tree.value], place.file, place.line)
    return Node(tree.value, place.file, place.line)


def _put_register(
    entries: dict[str, Node],
    said: Mapping[str, str],
    base: Base | None,
    place: Node,
    device: DeviceOptions,
    mistakes: Mistakes,
) -> None:
    """The address on the wire, and the function code where the notation says one that the device does not."""
    text = said.get("register", "").strip()
    if not text:
        return
    own = said.get("address_base", "").strip() or base or "0"
    if own not in BASES:
        mistakes.add(place, "address_base", f'"{own}" is not allowed; allowed: {", ".join(BASES)}')
        return
    try:
        function, register = parse_register(text, next(each for each in BASES if each == own))
    except ValueError as error:
        mistakes.add(place, "register", str(error))
        return
    entries["register"] = Node(register, place.file, place.line)
    written_function = entries["function"].value if "function" in entries else getattr(device, "function", None)
    if function is None or function == written_function:
        return
    if "function" in entries:
        wrong = f"{text} belongs to function {function}, but column function says {written_function}"
        mistakes.add(place, "register", wrong)
    else:
        entries["function"] = Node(function, place.file, place.line)


def _check(options: TagOptions, device: DeviceOptions, place: Node, mistakes: Mistakes) -> None:
    """What is wrong with a tag in this device that its keys alone do not show."""
    try:
        options.wire_address(device)
        trouble = contradiction(options, options.value_kind(device))
    except ValueError as error:
        trouble = str(error)
    if trouble:
        mistakes.add(place, "", trouble)


# ------------------------------------------------------------------------------------------------------ the files


def read_rows(path: Path) -> list[list[str]]:
    """Every cell as text. Raises GatewayError where the file cannot be read."""
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        return _read_xlsx(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GatewayError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise GatewayError(f"{path} is too large; at most {MAX_BYTES // 1_000_000} MB are read")
    text = _decoded(data, path)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    return [list(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)]


def _decoded(data: bytes, path: Path) -> str:
    """UTF-8, else what a Chinese Excel saves."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise GatewayError(f"{path} is neither UTF-8 nor GB18030; save it as CSV UTF-8")


def write_rows(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """CSV that Excel opens as UTF-8, or xlsx. Raises GatewayError."""
    if path.suffix.lower() == ".xlsx":
        _write_xlsx(path, rows)
        return
    try:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows(rows)
    except OSError as error:
        raise GatewayError(f"{path} cannot be written: {error.strerror or error}") from error


def _openpyxl() -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise GatewayError(
            "xlsx needs the extra spreadsheet: pip install 'pilot-gateway[spreadsheet]'; CSV works without"
        ) from error
    return openpyxl


def _read_xlsx(path: Path) -> list[list[str]]:
    openpyxl = _openpyxl()
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # zipfile, XML and its own errors: all mean the same to people
        raise GatewayError(f"{path} cannot be read as xlsx: {error}") from error
    try:
        return [[_text(cell) for cell in row] for row in book.worksheets[0].iter_rows(values_only=True)]
    finally:
        book.close()


def _text(cell: object) -> str:
    """What a cell shows: whole numbers without a fraction."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell == int(cell) and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell)


def _write_xlsx(path: Path, rows: Iterable[Sequence[str]]) -> None:
    openpyxl = _openpyxl()
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "tags"
    for number, row in enumerate(rows, 1):
        for column, text in enumerate(row, 1):
            if text:
                cell = sheet.cell(number, column)
                cell.value, cell.data_type = text, "s"  # text, whatever it looks like: 00001 keeps its zeros
    sheet.freeze_panes = "B2"
    try:
        book.save(path)
    except OSError as error:
        raise GatewayError(f"{path} cannot be written: {error.strerror or error}") from error
