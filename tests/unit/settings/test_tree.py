"""YAML text → a tree with places; what is wrong with the text itself."""

import pytest

from gateway.settings import tree
from gateway.settings.tree import Node, parse, scalar


def root(text: str) -> Node:
    node, mistakes = parse(text.encode(), "a.yaml")
    assert not mistakes
    assert node is not None
    return node


def said(data: str | bytes) -> list[str]:
    return [str(mistake) for mistake in parse(data.encode() if isinstance(data, str) else data, "a.yaml")[1]]


def test_every_value_knows_its_line() -> None:
    node = root("a: 1\nb:\n  - x\n  - c: 2\n    d:\n      e: 3\n")
    b = node.map["b"]
    assert (node.map["a"].line, b.line, b.items[0].line, b.items[1].line) == (1, 2, 3, 4)
    assert (b.items[1].map["d"].line, b.items[1].map["d"].map["e"].line) == (5, 6)
    assert node.plain() == {"a": 1, "b": ["x", {"c": 2, "d": {"e": 3}}]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("Off", "Off"), ("y", "y"), ("true", True), ("FALSE", False),
        ("null", None), ("~", None), ("", None), ("None", "None"), ("12:30:00", "12:30:00"), ("1_000", "1_000"),
        ("010", 10), ("0o10", 8), ("0x1F", 31), ("-7", -7), ("+7", 7), ("0b11", "0b11"), ("1.", 1.0), (".5", 0.5),
        ("1e3", 1000.0), ("-.inf", float("-inf")), ("2026-11-23", "2026-11-23"), ("=", "="),
        ("nsu=urn:x;s=y", "nsu=urn:x;s=y"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_quoted_scalars_are_text() -> None:
    assert root("a: '1'\nb: \"true\"\nc: !!str 5\nd: |\n  x\n").plain() == {"a": "1", "b": "true", "c": "5", "d": "x\n"}


def test_aliases_and_merge_keys() -> None:
    node = root("a: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: *a\n  y: 3\nd:\n  <<: [{x: 5}, *a]\n")
    assert node.plain() == {
        "a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}, "d": {"x": 5, "y": 2},
    }  # fmt: skip
    assert node.map["c"].map["x"].line == 1  # where it was written
    assert node.map["b"].line == 2


def test_a_byte_order_mark_and_windows_line_ends_are_nothing_special() -> None:
    node, mistakes = parse(b"\xef\xbb\xbfa: 1\r\nb: x\r\n", "a.yaml")
    assert not mistakes
    assert node is not None
    assert node.plain() == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3: a: given twice; the first time in line 1"),
        ("a:\n\tb: 1\n", "a.yaml:2: a tab; YAML is indented with spaces only"),
        (b"a: 1\nb: \xff\n", "a.yaml:2: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("a: b: c\n", "a.yaml:1: not valid YAML: a second ': ' in one line, or wrong indentation; "
         "text with ': ' needs quotes"),
        ('a: 1\nb: "x\n\n', "a.yaml:2: not valid YAML: a quote or bracket that is opened here is never closed"),
        ("a: [1,\nb: 2\n", "a.yaml:3: not valid YAML: a ',' or a closing bracket is missing"),
        ("- a\nb: 1\n", "a.yaml:2: not valid YAML: wrong indentation, or a '-' is missing"),
        ("a: @x\n", "a.yaml:1: a value that begins with @, ` or % must be in quotes"),
        ("a: *x\n", "a.yaml:1: *x refers to &x, which does not end above"),
        ("a: &a [*a]\n", "a.yaml:1: *a refers to &a, which does not end above"),
        ("a: !!python/object/apply:os.system [x]\n", "a.yaml:1: a: "
         "YAML tags such as !name have no meaning here; put the text in quotes"),
        ("a: 1\n---\nb: 1\n", "a.yaml:2: a second document begins (---); one file, one document"),
        ("[a]: 1\n", "a.yaml:1: a key must be a word; is a quote or a colon missing?"),
        ("a: \x01\n", "a.yaml:1: a control character; only visible characters are allowed"),
        ('a: "\\0"\n', "a.yaml:1: a: a control character; only visible characters are allowed"),
        ("a: {<<: 5}\n", "a.yaml:1: a.<<: << takes a map or a list of maps"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_text(text: str | bytes, message: str) -> None:
    assert said(text) == [message]


def test_duplicate_keys_do_not_end_the_reading() -> None:
    assert len(said("a: 1\na: 2\nb: {c: 1, c: 2}\nb: 3\n")) == 3


def test_deep_nesting_is_refused() -> None:
    assert said("[" * 100_000) == ["a.yaml:1: nested too deeply; at most 32 levels"]


def test_nesting_by_aliases_is_refused() -> None:
    text = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100))
    assert said(text) == ["a.yaml:31: nested too deeply; at most 32 levels"]


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    text = "a0: &a0 [1,1,1,1,1,1,1,1,1]\n"
    text += "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    assert said(text) == ["a.yaml:7: too many values; at most 2,000,000, aliases included"]


def test_a_huge_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_BYTES", 1_000_000)
    assert said(b"#" * 1_000_001) == ["a.yaml: the file is too large; at most 1 MB are read"]
