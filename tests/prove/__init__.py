"""The promise, in figures: every proof runs against the real thing, and beside it a control that must fail."""

from collections.abc import Mapping

from tests.prove import (
    backlog_start,
    clock,
    damage,
    disk_faults,
    fuzz,
    gateway_kill,
    journal_kill,
    journal_model,
    opcua_fuzz,
    opcua_recovery,
    outage,
    power_cut,
    recovery,
    slow_device,
    soak,
    stop,
    system_calls,
)
from tests.prove.proof import Proof

PROOFS: Mapping[str, Proof] = {
    each.PROOF.name: each.PROOF
    for each in (
        gateway_kill,
        journal_kill,
        power_cut,
        system_calls,
        journal_model,
        damage,
        disk_faults,
        outage,
        recovery,
        slow_device,
        opcua_recovery,
        stop,
        backlog_start,
        clock,
        soak,
        fuzz,
        opcua_fuzz,
    )
}
"""In the order of the table."""
