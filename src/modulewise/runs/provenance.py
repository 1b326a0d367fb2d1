"""Hash of the source files that decide a run's numbers; a result that carries another one is
stale."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_OUTSIDE = (
    "cli",
    "report",
    "tracking",
    "status",
    "errors",
    "reading",
    "preflight",
    "references",
    "limits",
    "ledger",
    "expectation",
    "staging",
)
"""Files and folders that only read results or check input: editing them makes no result stale."""


@cache
def source_hash() -> str:
    """Twelve hexadecimal digits over the names and contents of the training code."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(_OUTSIDE):
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
