"""The append-only record of a run: one JSON object a line, one `write` a line, torn lines
tolerated.

Events (`ev`): `start` (a process begins the run, or resumes it in `epoch`: what was said of that
epoch and later ones is void), `metrics` (values at an epoch), `commit` (a checkpoint that holds
everything up to that epoch is in place), `end` (final status). Every event carries `t`,
milliseconds since 1970.
"""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = "record.jsonl"


class Record:
    """Appends events to `<folder>/record.jsonl`; a torn last line left by a killed process is
    closed off first."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if torn:
            os.write(self._fd, b"\n")

    def write(self, ev: str, **values: Any) -> None:
        """Append one event.

        Raises:
            OSError: the disk is full; a line that was cut short is torn and read as such.
        """
        line = (
            json.dumps({"ev": ev, "t": int(time.time() * 1000), **values}, separators=(",", ":"))
            + "\n"
        )
        if os.write(self._fd, line.encode()) < len(line.encode()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), FILE)

    def metrics(self, epoch: int, values: dict[str, float]) -> None:
        """Record metrics of an epoch (1-based)."""
        self.write("metrics", epoch=epoch, values=values)

    def commit(self, epoch: int) -> None:
        """Say that a checkpoint holding all epochs up to `epoch` has been renamed into place."""
        os.fsync(self._fd)
        self.write("commit", epoch=epoch)

    def close(self) -> None:
        """Flush to disk and close."""
        os.fsync(self._fd)
        os.close(self._fd)


@dataclass
class RunHistory:
    """What a record says once resumed epochs are counted once."""

    starts: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[tuple[str, int], tuple[float, int]] = field(default_factory=dict)
    """(metric, epoch) -> (value, time in ms); of a repeated epoch the last word counts."""
    committed: int = 0
    end: dict[str, Any] | None = None
    torn: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Of every start: its time and that of the last word before the next, in ms."""

    def settled(self) -> dict[tuple[str, int], tuple[float, int]]:
        """The metrics that can no longer change: all of them after the end, else those a checkpoint
        holds."""
        if self.end:
            return self.metrics
        return {k: v for k, v in self.metrics.items() if k[1] <= self.committed}


def read(folder: Path) -> RunHistory:
    """Read a run's record; an empty one if there is none yet."""
    out = RunHistory()
    path = folder / FILE
    if not path.exists():
        return out
    for line in path.read_bytes().split(b"\n"):
        if not line.strip():
            continue
        try:
            _take(out, json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            out.torn += 1
    return out


def _take(out: RunHistory, event: dict[str, Any]) -> None:
    """Fold one event in."""
    kind, at = event["ev"], event["t"]
    if kind == "start":
        out.spans.append((at, at))
    elif out.spans:
        out.spans[-1] = (out.spans[-1][0], max(at, out.spans[-1][1]))
    if kind == "start":
        first = event.get("epoch")
        if first is not None:
            out.metrics = {k: v for k, v in out.metrics.items() if k[1] < first}
            out.committed = min(out.committed, first - 1)
        out.starts.append(event)
        out.end = None
    elif kind == "metrics":
        out.metrics.update(
            {(n, event["epoch"]): (float(v), at) for n, v in event["values"].items()}
        )
    elif kind == "commit":
        out.committed = max(out.committed, event["epoch"])
    elif kind == "end":
        out.end = event
