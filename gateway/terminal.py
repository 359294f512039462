"""Values as people read them in a terminal. Pure.

What a device says is never taken for markup or terminal commands: texts are escaped and shown as plain Text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from gateway.core.quality import Quality
from gateway.logs import escaped

STYLES = {Quality.GOOD: "green", Quality.UNCERTAIN: "yellow", Quality.BAD: "bold red"}


def table_of(*columns: str) -> Table:
    """An empty table; a column whose name ends with ``>`` is aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.removesuffix(">"), justify="right" if column.endswith(">") else "left", no_wrap=True)
    return table


def value_text(value: object) -> Text:
    """A value short enough to read; seven digits are what a float32 of an instrument carries.

    >>> str(value_text(1234.5678901)), str(value_text(1234.0)), str(value_text(None)), str(value_text(True))
    ('1234.568', '1234.0', '–', 'true')
    """
    if value is None:
        return Text("–", style="dim")
    if isinstance(value, bool):
        return Text("true" if value else "false")
    if isinstance(value, float):
        short = f"{value:.7g}"
        return Text(short if any(c in short for c in ".en") else f"{short}.0")
    return Text(escaped(str(value)))


def quality_text(word: str) -> Text:
    """The quality in its colour."""
    return Text(word, style=STYLES.get(Quality(word), ""))


def age_text(age_s: float | None) -> Text:
    """How old a value is.

    >>> str(age_text(0.24)), str(age_text(75)), str(age_text(None))
    ('0.2 s', '75 s', 'never')
    """
    if age_s is None:
        return Text("never", style="dim")
    return Text(f"{age_s:.1f} s" if age_s < 10 else f"{age_s:.0f} s", style="yellow" if age_s > 10 else "")


def names_text(names: Mapping[str, Any]) -> Text:
    """The display names, English first."""
    return Text(escaped(" · ".join(names[language] for language in ("en", "zh") if names.get(language))), style="dim")
