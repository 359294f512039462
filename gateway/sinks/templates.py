"""What an encoder prepares once per shape and uses with every batch of it.

Devices that report by exception bring ever new selections of their tags, so what is kept is bounded in columns
(about 100 bytes each), the longest unused going first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from gateway.core.model import Shape, Source

Template = TypeVar("Template")

MOST_COLUMNS = 200_000
"""Columns of all kept templates together: about 20 MB."""


class Templates(Generic[Template]):
    """Templates by shape, the least recently used forgotten first.

    ``heads`` makes the text in front of each value, for all columns of a source; ``build`` makes a template of the
    heads that a shape selects. So a new selection of known columns costs one join, not its names and escapes again.
    """

    def __init__(
        self,
        heads: Callable[[Source], tuple[bytes, ...]],
        build: Callable[[Shape, tuple[bytes, ...]], Template],
        most_columns: int = MOST_COLUMNS,
    ) -> None:
        self._make_heads = heads
        self._build = build
        self._most = most_columns
        self._heads: dict[Source, tuple[bytes, ...]] = {}
        self._heads_columns = 0
        self._templates: dict[Shape, Template] = {}
        self._columns = 0

    def __len__(self) -> int:
        return len(self._templates)

    def get(self, shape: Shape) -> Template:
        """The template of the shape, made when it is not there."""
        template = self._templates.pop(shape, None)
        if template is None:
            heads = self._source_heads(shape.source)
            template = self._build(shape, tuple([heads[i] for i in shape.index]))
            self._columns += len(shape.index)
        self._templates[shape] = template  # now the most recently used
        if self._columns > self._most and len(self._templates) > 1:
            self._forget_oldest()
        return template

    def _source_heads(self, source: Source) -> tuple[bytes, ...]:
        heads = self._heads.get(source)
        if heads is None:
            heads = self._make_heads(source)
            if self._heads_columns > self._most:
                self._heads.clear()
                self._heads_columns = 0
            self._heads[source] = heads
            self._heads_columns += len(heads)
        return heads

    def _forget_oldest(self) -> None:
        oldest = next(iter(self._templates))
        del self._templates[oldest]
        self._columns -= len(oldest.index)
