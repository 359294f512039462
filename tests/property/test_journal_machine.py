"""The journal against a list, in short; ``make prove`` takes 50,000 steps and shows that it finds wrong journals."""

from __future__ import annotations

import pytest

from tests.conftest import HYPOTHESIS_TIMEOUT_S
from tests.support.journal_machine import run_machine


@pytest.mark.timeout(HYPOTHESIS_TIMEOUT_S, method="thread")
def test_the_journal_does_what_a_list_does() -> None:
    assert run_machine(8, search=False, shrink=False) > 200
