"""What MLflow should hold of one run, made of its state. Imports nothing of MLflow.

Experiments are data sets, runs are flat (nested ones hide every chart), tags are there to group by,
and every metric has a slash in its name, which gives its section in the chart view. MLflow sorts
sections and charts by name, so names are chosen such that the primary metric after the last epoch
comes first. Each run has its images as an input, whose name and digest runs can be searched by.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modulewise.config.cell import Cell
from modulewise.config.options import options_model
from modulewise.runs import record, result
from modulewise.runs.logs import TRAIN_LOG
from modulewise.runs.process import written
from modulewise.runs.result import PrimaryMetric, Result
from modulewise.runs.state import RunState, State, words
from modulewise.units import duration, memory

KEY = "run.key"
"""Tag that names a cell, in every store."""
SCHEMA = 5
"""Version of what is made of a folder; runs mirrored with an older one are looked into again."""
SUMMARY = ("usage/", "result/", "cost/", "memory/", "test_error/best")
"""Section of single figures, and beginnings of names that earlier versions gave: a run that has one
of these is made anew."""
STATUS: dict[State, str] = {
    "running": "RUNNING",
    "waiting": "SCHEDULED",
    "queued": "SCHEDULED",
    "stopped": "KILLED",
    "failed": "FAILED",
    "damaged": "FAILED",
    "done": "FINISHED",
    "diverged": "FAILED",
    "out_of_memory": "FAILED",
}
"""MLflow's word for a state; the tag `status` has the state itself."""

Point = tuple[str, int, float, int]
"""Metric, step, value, milliseconds since 1970."""


@dataclass(frozen=True)
class Images:
    """A data set as MLflow knows it."""

    name: str
    """Its name in `datasets.yaml`."""
    digest: str
    """Short hash of images and labels."""
    source: str
    """Its entry in `datasets.yaml`, as JSON."""


@dataclass(frozen=True)
class Wanted:
    """What MLflow should hold of one run."""

    key: str
    """Name of the cell, in every store."""
    experiment: str
    """Name of the experiment, one for each data set."""
    name: str
    """Name of the run, for people: not unique."""
    begun: int
    """Time of the first start, in ms since 1970."""
    ended: int | None
    """Time of the end, in ms since 1970; `None` without a result."""
    status: str
    """MLflow's word for the state."""
    metric: PrimaryMetric
    """Primary metric of the run."""
    params: dict[str, str]
    """Values of the resolved cell, by dotted name."""
    tags: dict[str, str]
    """Tags, by name."""
    points: list[Point]
    """Points that can no longer change, in the order they were recorded."""
    known: dict[tuple[str, int], float]
    """Values by (metric, step), also those that may change yet."""
    images: Images | None
    """Images that it was trained and tested on; `None` before its end."""
    cell: str
    """Content of `cell.json`."""
    files: tuple[Path, ...]
    """Files to attach."""


def wanted(folder: Path, state: RunState) -> Wanted | None:
    """What MLflow should hold of a run; `None` if the run has not begun.

    Args:
        folder: the run's folder.
        state: the run's state.

    Raises:
        KeyError: its record lacks what every record has.
    """
    said, made = state.history, state.result
    if not said.starts:
        return None
    last, ended = said.starts[-1], _ended(folder, state)
    settled, seen = _named(said.settled()), _named(said.metrics)
    points = [(name, step, _stored(v), at) for (name, step), (v, at) in settled.items()]
    if made and ended:
        points += [(name, 0, _stored(v), ended) for name, v in _summary(made).items()]
    cell = _resolved(last["cell"])
    c = {k: str(cell[k]) for k in ("dataset", "network", "recipe", "modules", "seed", "method")}
    place = [c["dataset"], c["network"], c["recipe"], f"K{c['modules']}", f"s{c['seed']}"]
    key = "/".join(["modulewise", *place, last["id"]])
    return Wanted(
        key=key,
        experiment=f"modulewise-{c['dataset']}",
        name=f"{c['recipe']}-K{c['modules']}-s{c['seed']}",
        begun=said.starts[0]["t"],
        ended=ended,
        status=STATUS[state.state],
        metric=state.metric,
        params=_flat({k: v for k, v in cell.items() if k != "data"}),
        tags={KEY: key} | _tags(c, state, _owner(folder / record.FILE)),
        points=points,
        known={k: _stored(v) for k, (v, _) in seen.items()} | {(n, s): v for n, s, v, _ in points},
        images=_images(c["dataset"], made) if ended else None,
        cell=json.dumps(last["cell"], indent=1) + "\n",
        files=tuple(p for p in (folder / result.FILE, folder / TRAIN_LOG) if ended and p.exists()),
    )


def _named(
    metrics: dict[tuple[str, int], tuple[float, int]],
) -> dict[tuple[str, int], tuple[float, int]]:
    """Metrics by name and step under the names that sort them: the value chosen on test images
    after the others, memory after the errors."""
    return {
        (name.replace("/best", "/overall_best").replace("memory/peak", "training/peak"), step): v
        for (name, step), v in metrics.items()
    }


def _images(name: str, made: Result | None) -> Images | None:
    """The data set of a result; `None` for results from before its images were hashed."""
    if made is None or not made.origin.data:
        return None
    entry = made.cell.data.model_dump(mode="json", exclude_defaults=True, exclude={"path"})
    return Images(name, made.origin.data, json.dumps(entry, sort_keys=True))


def _ended(folder: Path, state: RunState) -> int | None:
    """Time of the end in ms: what the record says, else when the result was written."""
    if state.result is None:
        return None
    end = state.history.end
    return int(end["t"] if end else written(folder / result.FILE) * 1000)


def _tags(c: dict[str, str], state: RunState, owner: str | None) -> dict[str, str]:
    """Tags to group and filter by, and what MLflow shows at the top of a run's page."""
    last = state.history.starts[-1]
    commit = last.get("commit") or ""
    tags = {
        "recipe": c["recipe"],
        "method": c["method"],
        "K": c["modules"],
        "network": c["network"],
        "dataset": c["dataset"],
        "seed": c["seed"],
        "status": state.state,
        "reason": state.result.reason if state.result else None,
        "device": last.get("device"),
        "host": last.get("host"),
        "attempts": len(state.history.starts),
        "slurm.job_id": last.get("slurm_job"),
        "source": last.get("source"),
        "images": state.result.origin.data if state.result else None,
        "uncommitted": "yes" if commit.endswith("+") else None,
        "mlflow.user": owner,
        "mlflow.source.name": "modulewise train",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit.rstrip("+"),
        "mlflow.note.content": _note(c, state),
    }
    return {k: str(v)[:8000] for k, v in tags.items() if v not in (None, "")}


def _owner(path: Path) -> str | None:
    """Who trained: whose file it is, not who mirrors it."""
    try:
        return path.owner()
    except (KeyError, OSError):  # a user of another host or container
        return None


def _summary(made: Result) -> dict[str, float]:
    """Single figures of a finished run; at step 0, where MLflow draws bars instead of curves."""
    name = made.metric.name
    figures: dict[str, Any] = {
        f"test_{name}/last": made.test_last,
        f"val_{name}/last": made.val_last,
    }
    figures |= {f"test_{it.metric.name}/last": it.last for it in made.secondary}
    figures |= {f"usage/{k}": v for k, v in made.cost.model_dump().items()}
    return {k: float(v) for k, v in figures.items() if isinstance(v, int | float)}


def _note(c: dict[str, str], state: RunState) -> str:
    """The run and its result in words, as Markdown."""
    modules = f"**{c['modules']}** module{'s' if c['modules'] != '1' else ''}"
    what = (
        f"**{c['recipe']}** (method `{c['method']}`) trains **{c['network']}** on "
        f"**{c['dataset']}** in {modules}, seed {c['seed']}."
    )
    return f"{what}\n\n{_outcome(state.result) if state.result else _progress(state)}"


def _progress(state: RunState) -> str:
    reason = f": {state.why}" if state.why else ""
    text = f"{words(state.state).capitalize()}{reason}. Epochs planned: {state.epochs or '?'}."
    if state.value is None:
        return text
    value = state.metric.number(state.value)
    return f"{text} After epoch {state.epoch}: {state.metric.label} {value}."


def _outcome(made: Result) -> str:
    ended = words(made.status).capitalize()
    reason = f": {made.reason}" if made.reason else ""
    text = [f"{ended} after {made.epochs} of {made.planned_epochs} epochs{reason}."]
    if made.test_last is not None:
        value = made.metric.number(made.test_last)
        text.append(f"After the last epoch: {made.metric.label} **{value}**.")
    cost, origin = made.cost, made.origin
    if cost.peak_memory_bytes:
        text.append(f"Peak memory {memory(cost.peak_memory_bytes)} ({cost.memory_source}).")
    if cost.workspace_bytes:
        text.append(f"Operators' workspace on top: {memory(cost.workspace_bytes)}.")
    if cost.train_seconds:
        shared = "" if origin.exclusive else ", which other work shared"
        text.append(f"{duration(cost.train_seconds)} of training on {origin.device}{shared}.")
    return " ".join(text)


def _resolved(content: dict[str, Any]) -> dict[str, Any]:
    """A cell with all defaults; as it stands if this version does not know it (any more)."""
    try:
        cell = Cell.model_validate(content)
    except ValidationError:
        return content
    options = (
        options_model("methods", cell.method).model_validate(cell.options).model_dump(mode="json")
    )
    return cell.model_dump(mode="json") | {"options": options}


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, str]:
    """Nested values by dotted name; lists as text, what is not set left out."""
    out: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{above}{name}.")
        elif value is not None:
            out[above + name] = (
                ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            )[:6000]
    return out


def _stored(value: float) -> float:
    """As MLflow keeps it: no infinities."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value
