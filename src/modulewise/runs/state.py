"""State of a run, read from its folder, the workflow's log and the executor's ledger of jobs.

The only place that decides it: `modulewise status`, the report and the MLflow mirror show what is
found here. The states are explained in `docs/states.md`.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from modulewise.config.cell import Cell
from modulewise.runs import jobs, process, record, result
from modulewise.runs.cost import RunCost, run_cost
from modulewise.runs.jobs import Job
from modulewise.runs.logs import TRAIN_LOG, failure, last_line
from modulewise.runs.process import written
from modulewise.runs.record import Keep, RunHistory
from modulewise.runs.result import PrimaryMetric, Result

State = Literal[
    "done",
    "running",
    "queued",
    "waiting",
    "stopped",
    "failed",
    "damaged",
    "diverged",
    "out_of_memory",
]
STATES: tuple[State, ...] = get_args(State)
"""All states, in the order in which tables list them."""
ENDED: tuple[State, ...] = ("done", "diverged", "out_of_memory")
"""States of a run whose result can be read. It is not trained again."""
STARTING = 120.0
"""Seconds for which a training log without a record counts as a run that is starting."""
ASKED_TO_STOP = "asked to stop; resumes when started again"
CUT_OFF = "cut off; resumes from its last checkpoint when started again"


@dataclass(frozen=True)
class RunState:
    """State of one run."""

    state: State
    epoch: int = 0
    """Number of epochs trained and recorded."""
    epochs: int | None = None
    """Number of epochs of the whole run; `None` until its budget is resolved to epochs."""
    value: float | None = None
    """Primary metric on test images after the last recorded epoch."""
    left: float | None = None
    """Seconds to go, if later epochs take as long as earlier ones; `None` unless running."""
    why: str = ""
    """Reason of the state; empty where the state says everything."""
    metric: PrimaryMetric = field(default_factory=PrimaryMetric)
    """Metric that `value` is of."""
    cost: RunCost = field(default=RunCost(), compare=False)
    """Cost of the run so far."""
    result: Result | None = field(default=None, compare=False, repr=False)
    """Result, in the states of `ENDED`."""
    history: RunHistory = field(default_factory=RunHistory, compare=False, repr=False)
    """Content of the run's record."""


def words(state: str) -> str:
    """A state as it is written for people: `out_of_memory` is "out of memory"."""
    return state.replace("_", " ")


def run_states(
    cells: Iterable[Cell],
    runs: Path,
    ledger: Path | None = None,
    now: float | None = None,
    keep: Keep = "all",
) -> list[RunState]:
    """States of the runs of several cells.

    Args:
        cells: cells of a sweep.
        runs: folder of the runs; the workflow's logs and the ledger lie beside it.
        ledger: the executor's ledger of jobs, if it lies elsewhere.
        now: seconds since 1970; the present if not given.
        keep: metrics to read of runs that left a result (see `record.read`).
    """
    known = jobs.read(ledger or runs.parent / jobs.FILE)
    return [run_state(cell, runs, known.get(cell.path), now, keep) for cell in cells]


def run_state(
    cell: Cell,
    runs: Path,
    job: Job | None = None,
    now: float | None = None,
    keep: Keep = "all",
) -> RunState:
    """State of a cell's run.

    Args:
        cell: the cell.
        runs: folder of the runs; the workflow's logs lie beside it.
        job: the run's last job, if the executor's ledger has one.
        now: seconds since 1970; the present if not given.
        keep: as in `run_states`.
    """
    return path_state(runs, cell.path, cell, job, now, keep)


def path_state(
    runs: Path,
    path: str,
    cell: Cell | None = None,
    job: Job | None = None,
    now: float | None = None,
    keep: Keep = "all",
) -> RunState:
    """State of a run of which only the place is known.

    Args:
        runs: folder of the runs.
        path: the run's path below it.
        cell: cell that the result must be of; if not given, the one that the record names.
        job: as in `run_state`.
        now: as in `run_state`.
        keep: as in `run_states`.
    """
    folder, log = runs / path, runs.parent / "logs" / "runs" / f"{path}.log"
    now = time.time() if now is None else now
    made = _result(folder, cell)
    said = record.read(folder, keep if isinstance(made, Result) else "all")
    found = _finished(folder, made, cell, said)
    found = found or _queued(_unfinished(folder, log, said, now), said, job)
    cost = run_cost(said, job, found.state == "running", found.state == "queued", now)
    return replace(found, cost=cost, history=said)


def _result(folder: Path, cell: Cell | None) -> Result | str | None:
    """A run's result, or what is wrong with it; `None` without one."""
    try:
        return result.load(folder / result.FILE, cell)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return _detail(error)


def _finished(
    folder: Path, made: Result | str | None, cell: Cell | None, said: RunHistory
) -> RunState | None:
    """State of a run that left a result; `None` without one."""
    if made is None:
        return None
    if isinstance(made, str):
        return _damaged(folder, said, made)
    wanted = cell.id if cell else said.starts[-1].get("id") if said.starts else None
    if wanted and made.cell.id != wanted:
        return _damaged(folder, said, f"result of another cell, {made.cell.id}")
    return RunState(
        made.status,
        made.epochs,
        made.planned_epochs,
        made.test_last,
        why=made.reason or "",
        metric=made.metric,
        result=made,
    )


def _damaged(folder: Path, said: RunHistory, detail: str) -> RunState:
    why = f"{detail}; remove {folder / result.FILE} to train again"
    return replace(_progress(said), state="damaged", why=why)


def _detail(error: Exception) -> str:
    """What is wrong with a result, in one line."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors(include_url=False)[0]
    place = ".".join(str(p) for p in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def _unfinished(folder: Path, log: Path, said: RunHistory, now: float) -> RunState:
    """State of a run without a result, by its own files."""
    found = _progress(said)
    epoch_seconds = _epoch_seconds(said)
    if (
        said.starts
        and not said.end
        and process.running(said.starts[-1], folder, now, epoch_seconds)
    ):
        return replace(found, state="running", left=_left(found, said, epoch_seconds))
    if (why := failure(log)) and written(log) >= written(folder / TRAIN_LOG):
        return replace(found, state="failed", why=why)
    if said.starts:
        return replace(found, state="stopped", why=_stopped(folder, said))
    return _unrecorded(folder, now)


def _unrecorded(folder: Path, now: float) -> RunState:
    """State of a run whose record has no start: not begun, starting, or ended at once."""
    touched = max(written(folder / TRAIN_LOG), written(folder / record.FILE))
    if not touched:
        return RunState("waiting")
    if now - touched < STARTING:
        return RunState("running", why="starting")
    last = last_line(folder / TRAIN_LOG) or "empty"
    return RunState("stopped", why=f"ended before its first epoch; {TRAIN_LOG} ends: {last}")


def _queued(found: RunState, said: RunHistory, job: Job | None) -> RunState:
    """The state, corrected by what the ledger knows of the run's job: that it waits in Slurm's
    queue, or why it failed."""
    if job is None or found.state == "running":
        return found
    if job.state not in ("", "success"):
        why = job.why or found.why or job.state
        return replace(found, state="failed", why=f"{why}  {job.log}".strip())
    begun = bool(said.spans) and said.spans[-1][0] >= job.submitted
    if not job.state and (not begun or found.why == ASKED_TO_STOP):
        return replace(found, state="queued", why="")
    return found


def _stopped(folder: Path, said: RunHistory) -> str:
    """Why a run that has begun is not going on."""
    if said.end:
        return (
            f"its record ends with status {said.end.get('status')}, but there is no {result.FILE}; "
            f"resumes when started again"
        )
    return ASKED_TO_STOP if "asked to stop" in last_line(folder / TRAIN_LOG) else CUT_OFF


def _progress(said: RunHistory) -> RunState:
    """How far a run has come by its record; the state is for the caller to set."""
    points = said.points
    epoch = max(points, default=0)
    epochs = _planned(said.starts[-1]) if said.starts else None
    value = points[epoch][0] if points else None
    return RunState("waiting", epoch, epochs, value, metric=said.metric)


def _left(found: RunState, said: RunHistory, epoch_seconds: float | None) -> float | None:
    """Seconds to go: of the epochs planned, or of a budget of seconds."""
    if found.epochs and epoch_seconds:
        return (found.epochs - found.epoch) * epoch_seconds
    budget = _training(said.starts[-1]).get("seconds")
    spent = said.metrics.get(("time/train_s", found.epoch))
    return max(0.0, budget - spent[0]) if budget and spent else None


def _training(start: dict[str, Any]) -> dict[str, Any]:
    cell = start.get("cell")
    training = cell.get("training") if isinstance(cell, dict) else None
    return training if isinstance(training, dict) else {}


def _planned(start: dict[str, Any]) -> int | None:
    """Number of epochs of the whole run, unless its budget was still to be resolved to epochs."""
    training, epochs = _training(start), start.get("epochs")
    unresolved = start.get("epoch", 1) == 1 and (training.get("flops") or training.get("seconds"))
    return None if unresolved or not isinstance(epochs, int) else epochs


def _epoch_seconds(said: RunHistory) -> float | None:
    """Seconds an epoch takes, evaluation included: the median over the last ten of this start."""
    if not said.starts:
        return None
    first = (said.spans[-1][0], (said.starts[-1].get("epoch") or 1) - 1)
    ends = sorted([first, *((at, epoch) for epoch, (_, at) in said.points.items())])
    took = [(b[0] - a[0]) / 1000 for a, b in itertools.pairwise(ends) if b[1] == a[1] + 1]
    return statistics.median(took[-10:]) if took else None
