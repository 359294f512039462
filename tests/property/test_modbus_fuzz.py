"""A few thousand of the wrong answers of ``tests/prove/modbus_fuzz.py``; the million is run on request."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.modbus.frames import RtuFraming, TcpFraming
from tests.prove.modbus_fuzz import run


def test_no_answer_is_wrong() -> None:
    result = run(6000, seed=2)
    assert result.wrong == []
    assert result.collided <= 3
    assert min(result.right, result.refused, result.nothing) > 300


@pytest.mark.parametrize("framing", [TcpFraming, RtuFraming])
def test_the_fuzz_finds_a_framing_that_does_not_look_at_the_unit(
    framing: type[TcpFraming | RtuFraming], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What proves something must be able to fail."""
    strict: Any = framing._on_frame

    def careless(self: TcpFraming, *frame: object) -> object:
        *rest, body = frame
        assert isinstance(body, bytes)
        return strict(self, *rest, bytes((self._unit,)) + body[1:])

    monkeypatch.setattr(framing, "_on_frame", careless)
    assert run(3000).wrong or run(3000).collided > 3
