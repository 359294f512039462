"""The table of what was promised and what was reached, for the screen and for PROOF.md. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.prove.proof import Proof, Reached

COLUMNS = ("promise", "figure", "reached", "kept", "control", "run")

HEAD = """\
# Proof

Written by `make prove`. Each row is a run against the real thing: the real journal on a real disk, the real gateway
as a process, mosquitto and VictoriaMetrics, and instruments that remember what they said. Each control is the same run
with one thing deliberately broken; it has to fail, or the row proves nothing. A short version of the most important
rows runs with `make test`; `python -m tests.prove --only NAME` repeats one.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One proof that was run, or could not be: then ``reached`` is the reason."""

    proof: Proof
    reached: Reached | str
    seconds: float
    when: str = ""  # and with which version of the code

    @property
    def proven(self) -> bool:
        """A row that could not be run is not held against the code."""
        return isinstance(self.reached, str) or self.reached.proven

    @property
    def cells(self) -> tuple[str, ...]:
        promise = f"{self.proof.promise} (`{self.proof.name}`)"
        if isinstance(self.reached, str):
            return (promise, self.proof.figure, self.reached, "not run", "", self.when)
        reached = self.reached
        control = reached.control
        if control:
            control = f"{'failed as it must' if reached.control_failed else '**DID NOT FAIL**'}: {control}"
        return (promise, self.proof.figure, reached.text, "yes" if reached.kept else "**NO**", control, self.when)


def markdown(row: Row, names: Sequence[str], machine: str, before: str) -> str:
    """PROOF.md with this row in it; rows of other proofs stay as they are ``before``. ``names`` is their order."""
    found = {name: line for line in before.splitlines() for name in names if f"(`{name}`)" in line}
    found[row.proof.name] = f"| {' | '.join(_cell(cell) for cell in row.cells)} |"
    lines = [HEAD, f"{machine}\n", f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *(found[name] for name in names if name in found), ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def screen(row: Row) -> str:
    """One row for the terminal."""
    promise, figure, reached, kept, control, _ = (cell.replace("*", "").replace("`", "") for cell in row.cells)
    mark = {"yes": "kept", "NO": "NOT KEPT"}.get(kept, kept)
    lines = [f"{mark:8}  {promise}: {figure}", f"          {reached}  ({row.seconds:.0f} s)"]
    return "\n".join([*lines, *([f"          control {control}"] if control else [])])
