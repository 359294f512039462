"""The promise, in figures: every proof runs against the real thing, and beside it a control that must fail."""

from collections.abc import Mapping

from tests.prove import damage, gateway_kill, journal_kill, power_cut, system_calls
from tests.prove.proof import Proof

PROOFS: Mapping[str, Proof] = {
    proof.name: proof
    for proof in (gateway_kill.PROOF, journal_kill.PROOF, power_cut.PROOF, system_calls.PROOF, damage.PROOF)
}
"""In the order of the table."""
