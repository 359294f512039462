"""A process of its own reads the same settings, or the same mistakes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gateway.core.errors import ConfigError
from gateway.settings import load, load_apart

EXAMPLE = Path(__file__).parents[3] / "config"


def test_it_reads_what_load_reads() -> None:
    assert load_apart(EXAMPLE) == load(EXAMPLE)


def test_the_environment_goes_along(tmp_path: Path) -> None:
    environ = {**os.environ, "PILOT_GATEWAY__SITE": "jinan", "PILOT_GATEWAY__API__TOKEN": "apart"}
    settings = load_apart(EXAMPLE, environ)
    assert settings == load(EXAMPLE, environ)
    assert settings.api.token
    assert settings.api.token.get_secret_value() == "apart"


def test_every_mistake_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("gatway: gw1\nsite: wuxi\napi: {port: no}\n")
    with pytest.raises(ConfigError) as here:
        load(file)
    with pytest.raises(ConfigError) as apart:
        load_apart(file)
    assert apart.value.mistakes == here.value.mistakes
    assert len(here.value.mistakes) > 2


@pytest.mark.parametrize(
    ("program", "why"), [("/bin/false", "ended with code 1"), ("/nowhere/python", "could not be started: No such file")]
)
def test_a_process_that_does_not_do_it_is_a_mistake_too(
    monkeypatch: pytest.MonkeyPatch, program: str, why: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(ConfigError, match=f"the process that reads the configuration {why}"):
        load_apart(EXAMPLE)
