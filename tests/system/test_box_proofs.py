"""The box rows M1 to M4 of the promise, in short; ``make prove`` runs the full figures, see PROOF.md.

Each proof brings a control, the same run with one thing broken, which has to fail.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prove import PROOFS
from tests.prove.proof import NotPossible, Progress

pytestmark = pytest.mark.system


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["gateway-kill", "power-cut", "disk-faults"])
async def test_the_short_proof_holds_and_its_control_fails(name: str, tmp_path: Path) -> None:
    try:
        reached = await PROOFS[name].run(tmp_path, True, Progress(name))
    except NotPossible as reason:
        pytest.skip(str(reason))
    assert reached.kept, reached.text
    assert reached.control_failed, reached.control  # True where there is none
