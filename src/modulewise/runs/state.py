"""How a sweep stands, read from its run folders: what is done, running, waiting, failed and why. No
torch: seconds for 1,000 runs."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from modulewise.config.cell import Cell
from modulewise.runs import record, result
from modulewise.runs.cost import RunCost, run_cost
from modulewise.runs.jobs import Job

State = Literal[
    "done", "running", "queued", "waiting", "stopped", "failed", "diverged", "out_of_memory"
]
ORDER: tuple[State, ...] = (
    "done",
    "running",
    "queued",
    "waiting",
    "stopped",
    "failed",
    "diverged",
    "out_of_memory",
)
ENDED: tuple[State, ...] = ("done", "diverged", "out_of_memory")
REQUEUED = "asked to stop; resumes when started again"
LATEST = 600.0
"""Seconds without a word after which a run on another host counts as cut off; or five epochs, if
that is longer."""


@dataclass(frozen=True)
class RunState:
    """How one cell stands."""

    cell: Cell
    state: State
    epoch: int = 0
    epochs: int | None = None
    """Of the whole run; `None` as long as its budget is not resolved to epochs."""
    error: float | None = None
    """Last test error in percent."""
    left: float | None = None
    """Seconds, if the epochs to come take as long as those before."""
    why: str = ""
    cost: RunCost = field(default=RunCost(), compare=False)
    """What it has cost so far."""


def run_state(
    cell: Cell,
    runs: Path,
    logs: Path | None = None,
    now: float | None = None,
    job: Job | None = None,
) -> RunState:
    """How a cell stands.

    Args:
        cell: the cell.
        runs: folder of the runs.
        logs: folder of the workflow's logs of them; `logs/runs` beside `runs` if not given.
        now: seconds since 1970.
        job: its last one, if the executor's ledger knows one.
    """
    folder, now = runs / cell.path, time.time() if now is None else now
    log = (logs or runs.parent / "logs" / "runs") / f"{cell.path}.log"
    said = record.read(folder)
    found = _run_state(cell, folder, log, said, now)
    if job:
        found = _queued(found, job, said)
    return replace(
        found, cost=run_cost(said, job, found.state == "running", found.state == "queued", now)
    )


def _run_state(
    cell: Cell, folder: Path, log: Path, said: record.RunHistory, now: float
) -> RunState:
    """How a cell stands by its own files."""
    try:
        return _ended(cell, json.loads((folder / result.FILE).read_bytes()))
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError, AttributeError):
        return RunState(
            cell, "failed", why=f"{folder / result.FILE}: damaged; remove it to train again"
        )
    if not said.starts:
        complaint = _complaint(log)
        return RunState(cell, "failed", why=complaint) if complaint else RunState(cell, "waiting")
    start = said.starts[-1]
    seen = {e: (v, t) for (name, e), (v, t) in said.metrics.items() if name == "test_error/overall"}
    epoch = max(seen, default=0)
    profile = _pace(
        [(start.get("t", 0), start.get("epoch", 1) - 1)] + [(t, e) for e, (_, t) in seen.items()]
    )
    epochs, left = _planned(start), None
    if epochs and profile:
        left = (epochs - epoch) * profile
    elif (budget := _training(start).get("seconds")) and ("time/train_s", epoch) in said.metrics:
        left = max(0.0, budget - said.metrics["time/train_s", epoch][0])
    error = seen[epoch][0] if epoch else None
    if _alive(start, folder, now, profile):
        return RunState(cell, "running", epoch, epochs, error, left)
    last = _last_line(folder / "train.log")
    complaint = _complaint(log)
    if complaint and _written(log) >= _written(folder / "train.log"):
        return RunState(cell, "failed", epoch, epochs, error, None, complaint)
    return RunState(cell, "stopped", epoch, epochs, error, None, _reason(last))


def _queued(found: RunState, job: Job, said: record.RunHistory) -> RunState:
    """What the executor knows besides: a job that waits in Slurm's queue, and why one has
    failed."""
    if found.state in (*ENDED, "running"):
        return found
    if job.state not in ("", "success"):
        why = job.why or found.why or job.state
        return replace(found, state="failed", why=f"{why}  {job.log}".strip())
    begun = said.spans[-1][0] >= job.submitted if said.spans else False
    if not job.state and (not begun or found.why == REQUEUED):
        return replace(found, state="queued", why="")
    return found


def _ended(cell: Cell, made: dict[str, Any]) -> RunState:
    if made["status"] not in ENDED:
        raise ValueError
    return RunState(
        cell,
        made["status"],
        made["epochs"],
        made["planned_epochs"],
        made.get("test_last"),
        None,
        made.get("reason") or "",
    )


def _training(start: dict[str, Any]) -> dict[str, Any]:
    cell = start.get("cell")
    training = cell.get("training") if isinstance(cell, dict) else None
    return training if isinstance(training, dict) else {}


def _planned(start: dict[str, Any]) -> int | None:
    """Epochs of the whole run: what the start says, but for a budget that was still to be
    resolved."""
    training = _training(start)
    unresolved = start.get("epoch", 1) == 1 and (training.get("flops") or training.get("seconds"))
    return None if unresolved else start.get("epochs")


def _pace(points: Sequence[tuple[int, int]]) -> float | None:
    """Seconds an epoch takes: the median over the last ten of this start, evaluation included, of
    (milliseconds, epoch)."""
    points = sorted(points)
    took = [(b[0] - a[0]) / 1000 for a, b in itertools.pairwise(points) if b[1] == a[1] + 1]
    return statistics.median(took[-10:]) if took else None


def _alive(start: dict[str, Any], folder: Path, now: float, profile: float | None) -> bool:
    """Whether the process that began the run goes on: on this host by its number, on another by
    when the record last grew."""
    if start.get("host") != socket.gethostname():
        return now - _written(folder / record.FILE) < max(LATEST, 5 * (profile or 0))
    pid = start.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        began = float(Path("/proc/stat").read_text().split("btime ")[1].split()[0]) + int(
            numbers[18]
        ) / os.sysconf("SC_CLK_TCK")
        return (
            state not in "ZX" and began <= start.get("t", 0) / 1000 + 5
        )  # a later process of that number is another one
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return False
    except (OSError, ValueError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _lines(path: Path) -> list[str]:
    """The last lines of a text that are not empty."""
    try:
        with path.open("rb") as f:
            f.seek(max(0, path.stat().st_size - 8192))
            return [line for line in f.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return []


def _last_line(path: Path) -> str:
    lines = _lines(path)
    return lines[-1] if lines else ""


def _complaint(path: Path) -> str:
    """Why a job failed, if its log says so: the line of an error, or the last of a traceback."""
    last = _last_line(path).strip()
    if last.startswith("error:"):
        return last.removeprefix("error:").strip()
    return (
        last
        if re.match(r"([a-z_]\w*\.)*[A-Z]\w*(Error|Exception)\b", last)
        or last in ("Killed", "Terminated")
        else ""
    )


def _reason(last: str) -> str:
    """Why a run is not going on, from the last line of its log."""
    if "asked to stop" in last:
        return REQUEUED
    return "cut off; resumes from its last checkpoint when started again"
