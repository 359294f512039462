"""The texts that must never come out of this program: what stands in secret options and in the files they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path

from pydantic import BaseModel, SecretStr

from gateway.core.model import Tag

SECRET_FILES = frozenset({"password_file", "token_file"})
"""Options that name a file with one secret in it."""


def secrets_in(settings: object) -> Iterator[str]:
    """Every secret of the settings, wherever it stands, so that logs can leave it out.

    A file that cannot be read now has no secret that could come out; whoever needs it says what is wrong with it.
    """
    if isinstance(settings, SecretStr):
        yield settings.get_secret_value()
    elif isinstance(settings, BaseModel):
        for name in type(settings).model_fields:
            value = getattr(settings, name)
            if name in SECRET_FILES and isinstance(value, str):
                with suppress(OSError, UnicodeDecodeError):
                    yield Path(value).read_text(encoding="utf-8").strip()
            else:
                yield from secrets_in(value)
    elif isinstance(settings, Tag):
        return  # nothing secret in what is measured, and there are thousands
    elif is_dataclass(settings) and not isinstance(settings, type):
        for each in fields(settings):
            yield from secrets_in(getattr(settings, each.name))
    elif isinstance(settings, dict):
        for value in settings.values():
            yield from secrets_in(value)
    elif isinstance(settings, (tuple, list)):
        for value in settings:
            yield from secrets_in(value)
