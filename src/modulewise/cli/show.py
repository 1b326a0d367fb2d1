"""`modulewise show`: one run on a screen."""

from __future__ import annotations

import shutil
import sys

from modulewise.cli._options import Run, Runs
from modulewise.runs.find import RUNS, find
from modulewise.status.card import card
from modulewise.status.single import read


def show(
    run: Run,
    runs: Runs = RUNS,
) -> None:
    """Show one run: its cell, result, curves and files.

    The run may be going on, or may have failed: then its state and what it has recorded are shown.

    Examples:
        modulewise show d0768ac3
        modulewise show dataset~digits/network~resnet20/recipe~dgl/modules~4
        modulewise show elsewhere/result.json
    """
    width = max(60, min(100, shutil.get_terminal_size().columns))
    made = card(read(find(run, runs)), width if sys.stdout.isatty() else 80)
    print("\n".join(made))
