"""Plain values → YAML in one line, as the files of this project have it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.settings.tree import scalar

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*|[\u4e00-\u9fff][\u4e00-\u9fffA-Za-z0-9]*")


def flow(value: Any) -> str:
    """The value in flow style; quoted where it would otherwise be read as something else.

    >>> flow({"name": "t1", "range": [0.0, 250.5], "unit": "1", "names": {"zh": "温度"}, "description": "true"})
    '{name: t1, range: [0, 250.5], unit: "1", names: {zh: 温度}, description: "true"}'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)}: {flow(child)}" for key, child in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and scalar(value) == value:
        return value
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return orjson.dumps(value).decode()


def _key(key: Any) -> str:
    """Keys are texts whatever they look like, so a number needs no quotes.

    >>> flow({"enum": {"0": "idle", "10": "running"}})
    '{enum: {0: idle, 10: running}}'
    """
    return key if isinstance(key, str) and re.fullmatch(r"0|[1-9]\d*", key) else flow(key)
