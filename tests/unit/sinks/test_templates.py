"""Templates are made once per shape, and are bounded."""

from __future__ import annotations

from gateway.core.model import Shape, Source
from gateway.sinks.templates import Templates
from tests.support.batches import source


def test_made_once_and_the_longest_unused_goes_first() -> None:
    made: list[Shape] = []
    sources: list[Source] = []

    def heads(of: Source) -> tuple[bytes, ...]:
        sources.append(of)
        return tuple(column.name.encode() for column in of.columns)

    def build(shape: Shape, selected: tuple[bytes, ...]) -> bytes:
        made.append(shape)
        return b"|".join(selected)

    templates = Templates(heads, build, most_columns=4)
    one, two, three = (Shape(source(), index) for index in [(0, 1), (4, 2), (3,)])
    assert templates.get(one) == b"temperature|pressure"
    assert templates.get(two) == b"recipe|counter"
    assert templates.get(Shape(source(), (0, 1))) == b"temperature|pressure"  # an equal shape is as good
    assert made == [one, two]
    templates.get(three)  # five columns: the second shape is the longest unused
    assert len(templates) == 2
    templates.get(one)
    assert made == [one, two, three]
    templates.get(two)
    assert made == [one, two, three, two]
    assert len(sources) <= 2


def test_one_shape_larger_than_the_bound_is_kept_while_it_is_used() -> None:
    templates = Templates(lambda of: (b"",) * len(of.columns), lambda shape, heads: len(heads), most_columns=1)
    assert templates.get(Shape(source(), (0, 1, 2))) == 3
    assert len(templates) == 1
