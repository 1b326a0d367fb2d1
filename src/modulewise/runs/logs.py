"""Last lines of a run's logs: why it failed or stopped."""

from __future__ import annotations

import re
from pathlib import Path

TRAIN_LOG = "train.log"
"""Name of the training's own log in a run's folder; the workflow's log of the same run lies in
`logs/runs` beside the folder of the runs."""
TAIL = 8192
"""Number of bytes read from the end of a log."""
EXCEPTION = re.compile(r"([a-z_]\w*\.)*[A-Z]\w*(Error|Exception)\b")


def last_line(path: Path) -> str:
    """The last line of a log that is not empty; empty if there is none that can be read."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def failure(path: Path) -> str:
    """The error that a log ends with: an `error:` line, the last line of a traceback, or what a
    shell prints of a killed process; empty if it ends otherwise."""
    last = last_line(path)
    if last.startswith("error:"):
        return last.removeprefix("error:").strip()
    return last if EXCEPTION.match(last) or last in ("Killed", "Terminated") else ""
