"""`modulewise diff`: what differs between two runs."""

from __future__ import annotations

import shutil
import sys

from modulewise.cli._options import Run, Runs
from modulewise.runs.find import RUNS, find
from modulewise.status.difference import difference
from modulewise.status.single import read


def diff(
    one: Run,
    other: Run,
    runs: Runs = RUNS,
) -> None:
    """Show what differs between two runs.

    Settings, device and versions, results and cost; and from which epoch on their curves differ.
    Where nothing does, it says so.

    Examples:
        modulewise diff d0768ac3 bdde6de8
        modulewise diff d0768ac3 elsewhere/result.json
    """
    width = max(80, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 80
    a, b = (read(find(run, runs)) for run in (one, other))
    print("\n".join(difference(a, b, width)))
