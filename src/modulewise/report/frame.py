"""Run folders become tables: one row per cell, whatever there is of it on disk."""

from __future__ import annotations

import json
import os
import socket
import textwrap
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from modulewise.config.cell import Cell
from modulewise.config.plan import Plan
from modulewise.config.resolve import Catalog
from modulewise.runs import record, result
from modulewise.runs.provenance import source_hash
from modulewise.runs.result import PrimaryMetric

STATES = ("done", "running", "cut_off", "missing", "diverged", "out_of_memory", "damaged")
"""What a cell can be. Only `done` counts in means. `running` and `cut_off` have begun and left no
result; `cut_off` is known to have ended: it says so, or its process was on this host and is gone.
On another host nobody can tell: it counts as `running`."""
LOG = "train.log"
STARTING = 120
"""Seconds after its last line that a log without a record is taken for a run that is starting."""

NUMBERS = {
    "value": "test_last",
    "value_best": "test_best_epoch",
    "epochs": "epochs",
    "planned_epochs": "planned_epochs",
    "horizon": "horizon",
    "memory": "cost.peak_memory_bytes",
    "step_seconds": "cost.step_seconds",
    "trunk_flops": "cost.trunk_flops",
    "helper_flops": "cost.helper_flops",
    "macs": "cost.inference_macs",
    "parameters": "cost.parameters",
    "helper_parameters": "cost.helper_parameters",
    "inference_parameters": "cost.inference_parameters",
}
"""Numeric column -> where a `Result` holds it; NaN without a result."""

TEXTS = {
    "memory_source": "cost.memory_source",
    "device": "origin.device",
    "commit": "origin.commit",
    "source": "origin.source",
}


@dataclass(frozen=True)
class Frame:
    """A sweep as far as it has come.

    Attributes:
        runs: one row per cell, in the sweep's order: what it is, its `state` and `reason`, and the
            columns of `NUMBERS` (`value`: the primary metric, memory in bytes), `TEXTS`, `exclusive`, `stale`
            (made with other training code), `versions` (JSON).
        curves: the primary metric after every epoch of done runs: `path`, `epoch`, `value`.
        depth: the primary metric of every module's own head, done runs: `path`, `module` (from 1),
            `value`.
        baseline: name of the recipe the others are compared with; None if the sweep has none.
        labels: recipe -> label, in the sweep's order.
        metrics: data set -> its primary metric, as far as a result has named it.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    depth: pd.DataFrame
    baseline: str | None
    labels: dict[str, str]
    metrics: dict[str, PrimaryMetric]

    @property
    def primary(self) -> list[PrimaryMetric]:
        """The primary metrics of the sweep, one of each."""
        return list(dict.fromkeys(map(self.metric, self.runs["dataset"].unique())))

    def metric(self, dataset: str) -> PrimaryMetric:
        """The primary metric of a data set; test error as long as no result has named it."""
        return self.metrics.get(dataset, PrimaryMetric())


def read(plan: Plan, runs: Path) -> Frame:
    """Read what exists of every reported cell; nothing on disk makes this fail.

    Args:
        plan: the sweep.
        runs: folder that the cells' paths start from.
    """
    settings = _settings(plan)
    labels = _labels(plan.catalog, dict.fromkeys(cell.recipe for _, cell in plan.reported))
    rows, curves, depth = [], [], []
    metrics: dict[str, PrimaryMetric] = {}
    for grid, cell in plan.reported:
        state, long_reason, found = _state(cell, runs / cell.path)
        if found and found.metric != (known := metrics.setdefault(cell.dataset, found.metric)):
            long_reason = f"{result.FILE}: metric {found.metric.name}, others have {known.name}"
            state, found = "damaged", None
        reason = textwrap.shorten(long_reason, 240, placeholder=" …")
        row: dict[str, Any] = {
            k: getattr(cell, k)
            for k in ("path", "dataset", "network", "recipe", "method", "modules", "seed")
        }
        row |= {
            "label": labels[cell.recipe],
            "settings": settings[grid],
            "batch_size": cell.training.batch_size,
        }
        row |= {"state": state, "reason": reason} | {
            k: _get(found, v) for k, v in (NUMBERS | TEXTS).items()
        }
        row["exclusive"] = bool(found and found.origin.exclusive)
        row["stale"] = bool(found and found.origin.source != source_hash())
        row["versions"] = json.dumps(found.origin.versions, sort_keys=True) if found else None
        rows.append(row)
        if found and state == "done":
            curves += [(cell.path, *point) for point in _curve(runs / cell.path, found.metric)]
            depth += [
                (cell.path, k, v) for k, v in enumerate(found.module_metrics, 1) if v is not None
            ]
    table = (
        pd.DataFrame(rows).astype(dict.fromkeys(NUMBERS, float))
        if rows
        else pd.DataFrame(columns=["dataset", "state"])
    )
    return Frame(
        table,
        pd.DataFrame(curves, columns=["path", "epoch", "value"]).astype({"value": float}),
        pd.DataFrame(depth, columns=["path", "module", "value"]).astype({"value": float}),
        _baseline(plan.catalog, labels),
        labels,
        metrics,
    )


def _settings(plan: Plan) -> list[str]:
    """The training settings that every grid adds, as text: only cells for which they are equal are
    compared."""
    on = f" on {plan.times.device}" if plan.times else ""
    texts = []
    for grid in plan.sweep.grids:
        values = {
            k: f"{v:g}" if isinstance(v, float) else str(v)
            for k, v in sorted(grid.training.items())
        }
        texts.append(", ".join(f"{k}={v}{on * (k == 'seconds')}" for k, v in values.items()))
    return texts


def _labels(catalog: Catalog, names: Iterable[str]) -> dict[str, str]:
    """Recipe -> label, with the recipe's name where two share one."""
    labels = {n: catalog.recipes.recipes[n].label for n in names}
    uses = Counter(labels.values())
    return {n: label if uses[label] == 1 else f"{label} ({n})" for n, label in labels.items()}


def _baseline(catalog: Catalog, names: Iterable[str]) -> str | None:
    """The recipe that does not cut the network: `backprop` if there are several, else the first."""
    uncut = [n for n in names if catalog.recipes.recipes[n].modules == "one"]
    return "backprop" if "backprop" in uncut else next(iter(uncut), None)


def _state(cell: Cell, folder: Path) -> tuple[str, str, result.Result | None]:
    """State, the reason if it is not `done`, and the result if there is one."""
    path = folder / result.FILE
    try:
        found = result.load(path)
    except FileNotFoundError:
        return _unfinished(folder)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(p) for p in first["loc"])
        return "damaged", f"{result.FILE}: {place + ': ' if place else ''}{first['msg']}", None
    except (OSError, ValueError) as error:
        return "damaged", f"{result.FILE}: {error}", None
    if found.cell.id != cell.id:
        return "damaged", f"{result.FILE} is of another cell, {found.cell.id}", None
    reason = f"{found.reason or 'no reason given'} (after {found.epochs} of {found.planned_epochs} epochs)"
    return found.status, "" if found.status == "done" else reason, found


def _unfinished(folder: Path) -> tuple[str, str, None]:
    if not (folder / record.FILE).exists():
        return _unrecorded(folder / LOG)
    folded = _record(folder)
    epoch = max((epoch for _, epoch in folded.metrics), default=0)
    start: dict[str, Any] = folded.starts[-1] if folded.starts else {}
    last = max(
        [t for _, t in folded.metrics.values()] + [e["t"] for e in folded.starts], default=None
    )
    text = f"epoch {epoch}" + (f" of {start['epochs']}" if start.get("epochs") else "")
    when = (
        f", last entry {datetime.fromtimestamp(last / 1000, UTC):%Y-%m-%d %H:%M} UTC"
        if last
        else ""
    )
    if folded.end:
        return (
            "cut_off",
            f"{text}{when}; its record ends with status {folded.end.get('status')} and there is no "
            f"result",
            None,
        )
    if _gone(start.get("host"), start.get("pid")):
        return "cut_off", f"{text}{when}; its process is gone; the same command continues it", None
    return "running", text + when, None


def _unrecorded(log: Path) -> tuple[str, str, None]:
    """A run without a record: not begun, about to begin, or ended before it could."""
    try:
        idle = time.time() - log.stat().st_mtime
        lines = log.read_text(errors="replace").split("\n")
    except OSError:
        return "missing", "not begun", None
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if idle < STARTING:
        return "running", "starting" + (f": {last}" if last else ""), None
    return "cut_off", f"ended before its first epoch; {LOG} ends: {last or 'empty'}", None


def _gone(host: Any, pid: Any) -> bool:
    """Whether a process is known to have ended: only of this host can we tell."""
    if host != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def _record(folder: Path) -> record.RunHistory:
    """The run's record; an empty one if it cannot be read."""
    try:
        return record.read(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return record.RunHistory()


def _curve(folder: Path, metric: PrimaryMetric) -> list[tuple[int, float]]:
    settled = _record(folder).settled()
    return sorted(
        (epoch, value)
        for (name, epoch), (value, _) in settled.items()
        if name == f"test_{metric.name}/overall"
    )


def _get(found: result.Result | None, where: str) -> Any:
    """The value at `a.b` of a result; None without one."""
    value: Any = found
    for part in where.split("."):
        value = None if value is None else getattr(value, part)
    return value
