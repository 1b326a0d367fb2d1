"""The append-only record of a run: one JSON object a line, one `write` a line. Incomplete lines,
which a killed process leaves, are skipped.

Events (`ev`):

- `start`: a process begins the run, or resumes it in `epoch`; earlier metrics of that epoch and
  later ones no longer count. `metric` describes the task's primary metric (see `PrimaryMetric`);
  without it, that is the test error in percent.
- `metrics`: values at an epoch. The primary metric `NAME` on test images is `test_NAME/overall`,
  of a module's own head `test_NAME/module_K`, its best value so far `test_NAME/best`; on held-out
  training images it is `val_NAME/overall`. `gradient_angle/module_K` (degrees) and
  `gradient_norm_ratio/module_K`, where a run records them, are there before the first epoch too, at
  epoch 0.
- `commit`: a checkpoint is in place that holds everything up to that epoch.
- `end`: the final status.

Every event carries `t`, milliseconds since 1970.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import from_json

from modulewise.files import patiently
from modulewise.runs.result import PrimaryMetric

FILE = "record.jsonl"
Keep = Literal["all", "primary", "none"]
"""Metrics of a record that are read."""
METRICS = re.compile(
    rb'\{"ev":"metrics","t":(\d+),"epoch":(\d+),"values":\{"([^"\\]+)":([-+.\deE]+)[,}]'
)
"""Beginning of a line of metrics, as `Record` writes it: time, epoch, first metric, its value."""


class Record:
    """Appends events to `<folder>/record.jsonl`; an incomplete last line, left by a killed process
    or a full disk, is ended first. The file is opened for every event: on a network disk, one that
    was opened before may be stale."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self._append(b"")

    def write(self, ev: str, **values: Any) -> None:
        """Append one event.

        Raises:
            OSError: the disk is full; the line may be incomplete and is then skipped by `read`.
        """
        event = {"ev": ev, "t": int(time.time() * 1000), **values}
        self._append(json.dumps(event, separators=(",", ":")).encode() + b"\n")

    def metrics(self, epoch: int, values: dict[str, float]) -> None:
        """Record metrics of an epoch (1-based)."""
        self.write("metrics", epoch=epoch, values=values)

    def commit(self, epoch: int) -> None:
        """Record that a checkpoint holding all epochs up to `epoch` is in place."""
        self._append(b"", flush=True)
        self.write("commit", epoch=epoch)

    def close(self) -> None:
        """Flush to disk."""
        self._append(b"", flush=True)

    def _append(self, line: bytes, flush: bool = False) -> None:
        patiently(partial(_append, self._path, line, flush), self._path)


def _append(path: Path, line: bytes, flush: bool) -> None:
    """Append a line after whole lines; flush to disk all that the file holds."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            os.write(file, b"\n")
        if line and os.write(file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), FILE)
        if flush:
            os.fsync(file)
    finally:
        os.close(file)


@dataclass
class RunHistory:
    """What a record says, with every epoch counted once however often it was trained."""

    starts: list[dict[str, Any]] = field(default_factory=list)
    """Events of the processes that began or resumed the run, in order."""
    metrics: dict[tuple[str, int], tuple[float, int]] = field(default_factory=dict)
    """Map of (metric, epoch) to (value, time in ms); the latest value of a repeated epoch."""
    committed: int = 0
    """Last epoch that a checkpoint holds."""
    end: dict[str, Any] | None = None
    """Event that ended the run; `None` if it has not ended, or was started again since."""
    torn: int = 0
    """Number of lines that could not be read."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Times of the first and the last event of every start, in ms."""
    primary: str = "test_error/overall"
    """Name of the primary metric on test images, of the last start."""

    def last(self, at: int) -> None:
        """Extend the last start to an event's time."""
        if self.spans:
            self.spans[-1] = (self.spans[-1][0], max(at, self.spans[-1][1]))

    @property
    def metric(self) -> PrimaryMetric:
        """The primary metric of the run's task; test error in percent if the record names none."""
        given = self.starts[-1].get("metric") if self.starts else None
        try:
            return PrimaryMetric.model_validate(given or {})
        except ValidationError:
            return PrimaryMetric()

    @property
    def points(self) -> dict[int, tuple[float, int]]:
        """The primary metric on test images: (value, time in ms) by epoch."""
        return {epoch: p for (name, epoch), p in self.metrics.items() if name == self.primary}

    def settled(self) -> dict[tuple[str, int], tuple[float, int]]:
        """Metrics that can no longer change: all of them after the end, else those that a
        checkpoint holds."""
        if self.end:
            return self.metrics
        return {k: v for k, v in self.metrics.items() if k[1] <= self.committed}


def read(folder: Path, keep: Keep = "all") -> RunHistory:
    """Read a run's record; an empty one if there is none that can be read.

    Args:
        folder: the run's folder.
        keep: metrics to read: `all`, `none`, or the `primary` metric on test images alone. The rest
            of a line that `Record` wrote is then skipped, so that thousands of runs are quick.
    """
    out = RunHistory()
    try:
        lines = [line for line in (folder / FILE).read_bytes().split(b"\n") if line.strip()]
    except OSError:
        return out
    lines = _ends(lines) if keep == "none" else lines
    for event in _all(lines) if keep == "all" else lines:
        try:
            if isinstance(event, dict):
                _take(out, event, keep)
            elif keep == "all" or not _skim(out, event, keep):
                _take(out, json.loads(event), keep)
        except (ValueError, KeyError, TypeError, AttributeError):
            out.torn += 1
    return out


def _ends(lines: list[bytes]) -> list[bytes]:
    """The lines but for those of metrics that a whole line of metrics follows, which is later."""
    begin = b'{"ev":"metrics",'
    return [
        line
        for line, after in zip(lines, [*lines[1:], b""], strict=False)
        if not (line.startswith(begin) and after.startswith(begin) and after.endswith(b"}}"))
    ]


def _skim(out: RunHistory, line: bytes, keep: Keep) -> bool:
    """Apply a line of metrics by its first value; `False` if that does not do."""
    if not line.endswith(b"}}") or not (found := METRICS.match(line)):
        return False
    if keep == "primary":
        if found[3] != out.primary.encode():
            return False
        out.metrics[out.primary, int(found[2])] = float(found[4]), int(found[1])
    out.last(int(found[1]))
    return True


def _all(lines: list[bytes]) -> Sequence[dict[str, Any] | bytes]:
    """The events of some lines, read at once; the lines themselves if not every one is whole."""
    try:
        made = from_json(b"[" + b",".join(lines) + b"]", cache_strings="keys")
    except ValueError:
        return lines
    whole = len(made) == len(lines) and all(isinstance(event, dict) for event in made)
    return made if whole else lines


def _take(out: RunHistory, event: dict[str, Any], keep: Keep) -> None:
    """Apply one event."""
    kind, at = event["ev"], int(event["t"])
    if kind != "start":
        out.last(at)
    if kind == "start":
        first = event.get("epoch")
        if first is not None:
            out.metrics = {k: v for k, v in out.metrics.items() if k[1] < first}
            out.committed = min(out.committed, first - 1)
        out.spans.append((at, at))
        out.starts.append(event | {"t": at})
        out.primary = f"test_{out.metric.name}/overall"
        out.end = None
    elif kind == "metrics":
        epoch, values = int(event["epoch"]), event["values"]
        if keep != "all":
            values = {n: v for n, v in values.items() if keep == "primary" and n == out.primary}
        out.metrics.update({(n, epoch): (float(v), at) for n, v in values.items()})
    elif kind == "commit":
        out.committed = max(out.committed, int(event["epoch"]))
    elif kind == "end":
        out.end = event
