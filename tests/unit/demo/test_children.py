"""Children are watched, ended, and waited for."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from gateway.core.errors import GatewayError
from gateway.demo.children import Child, Stopped, Until


def _child(folder: Path, code: str) -> Child:
    return Child("part", (sys.executable, "-c", code), folder, dict(os.environ))


def test_a_child_that_ends_is_a_sentence_with_its_last_words(tmp_path: Path) -> None:
    until = Until()
    child = _child(tmp_path, "import sys; sys.exit('no port left')")
    until.children.append(child)
    with pytest.raises(GatewayError, match="the part ended with exit code 1: no port left"):
        until.true(lambda: False, 10, "nothing happened")
    child.stop()


def test_a_child_is_ended_and_a_second_time_does_no_harm(tmp_path: Path) -> None:
    child = _child(tmp_path, "print('up', flush=True); import time; time.sleep(60)")
    Until().true(lambda: child.output.read_text() == "up\n", 10, "it did not start")
    assert child.stop() == -signal.SIGTERM
    assert child.stop() == -signal.SIGTERM


def test_waiting_ends_when_somebody_wants_it_to() -> None:
    until = Until()
    with until.signals():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            until.pause(10)


def test_waiting_has_a_deadline() -> None:
    with pytest.raises(GatewayError, match="it never came within 0 s"):
        Until().true(lambda: False, 0.01, "it never came")


def test_work_goes_on_while_waiting() -> None:
    until = Until()
    done: list[int] = []
    until.meanwhile.append(lambda: done.append(1))
    until.true(lambda: len(done) >= 2, 10, "no work was done")
