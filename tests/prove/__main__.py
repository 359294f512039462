"""python -m tests.prove: keep the promises of this gateway in front of everybody's eyes.

Examples:
    python -m tests.prove --write PROOF.md            all of it, about half an hour
    python -m tests.prove --quick                     the same with few cycles
    python -m tests.prove --only power-cut soak       some of it
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.prove import PROOFS
from tests.prove.proof import NotPossible, Progress, Proof, Reached
from tests.prove.table import Row, markdown, screen
from tests.support.processes import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.prove", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=sorted(PROOFS), metavar="NAME", help=", ".join(PROOFS))
    parser.add_argument("--quick", action="store_true", help="few cycles: shows that it works, proves less")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table there as Markdown")
    options = parser.parse_args()
    rows = []
    for proof in PROOFS.values():
        if not options.only or proof.name in options.only:
            rows.append(run(proof, options.quick))
            sys.stdout.write(screen(rows[-1]) + "\n\n")
            sys.stdout.flush()
            if options.write:  # after each, so that an interrupted run leaves what it has
                before = options.write.read_text() if options.write.exists() else ""
                options.write.write_text(markdown(rows[-1], list(PROOFS), machine(), before))
    broken = [row.proof.name for row in rows if not row.proven]
    sys.stdout.write(f"not proven: {', '.join(broken)}\n" if broken else f"all {len(rows)} held\n")
    return 1 if broken else 0


def run(proof: Proof, quick: bool) -> Row:
    """One proof in a folder of its own, which is gone afterwards."""
    begin = time.monotonic()
    say = Progress(proof.name)
    say("begins")
    with tempfile.TemporaryDirectory(prefix=f"prove-{proof.name}-") as folder:
        try:
            reached: Reached | str = asyncio.run(_run(proof, Path(folder), quick, say))
        except NotPossible as reason:
            reached = f"not possible on this machine: {reason}"
        except AssertionError as error:
            reached = Reached(f"FAILED: {error}"[:2000], kept=False)
        finally:
            say.end()
    return Row(proof, reached, time.monotonic() - begin, when(quick))


async def _run(proof: Proof, folder: Path, quick: bool, say: Progress) -> Reached:
    return await proof.run(folder, quick, say)


def machine() -> str:
    """Where, for the head of the table."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{memory:.0f} GB of memory; other work may have shared the machine."
    )


def when(quick: bool) -> str:
    """The day, the version of the code, and whether it was the short version."""
    commit = _said("git", "rev-parse", "--short", "HEAD") or "unknown"
    changed = "+" if _said("git", "status", "--porcelain", "--untracked-files=no", "gateway", "drivers") else ""
    return f"{datetime.now(UTC):%Y-%m-%d}, {commit}{changed}{', short' if quick else ''}"


def _said(*command: str) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
