"""The checkout of the repository that this package runs from."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

SOURCE = (".", ":(top)src", ":(top)workflow", ":(top)Snakefile")
"""Patterns of source code in a checkout, seen from the package; files that are not committed yet
count too."""


@cache
def git_commit() -> str | None:
    """Commit of the checkout this package runs from, with `+` if its source differs: the package or
    the workflow, not an edited `config/` or document; None outside a checkout."""
    root = Path(__file__).parents[1]
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--", *SOURCE) else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    """What git says of a checkout, also of somebody else's. Nothing is run that the checkout
    configures, nor written to it."""
    trust = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false", "--no-optional-locks")
    command = ["git", *trust, "-C", str(folder), *words]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return said.stdout.strip()
