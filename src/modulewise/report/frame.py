"""Run folders become tables: one row per cell, whatever there is of it on disk."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from modulewise.config.cell import Cell
from modulewise.config.partition import partition_text
from modulewise.config.plan import Plan
from modulewise.config.resolve import Catalog
from modulewise.runs import record, result
from modulewise.runs.images import other_images
from modulewise.runs.provenance import source_hash
from modulewise.runs.record import RunHistory
from modulewise.runs.result import PrimaryMetric
from modulewise.runs.state import RunState, run_states

NUMBERS = {
    "value": "test_last",
    "value_best": "test_best_epoch",
    "epochs": "epochs",
    "planned_epochs": "planned_epochs",
    "horizon": "horizon",
    "memory": "cost.peak_memory_bytes",
    "workspace": "cost.workspace_bytes",
    "step_seconds": "cost.step_seconds",
    "trunk_flops": "cost.trunk_flops",
    "helper_flops": "cost.helper_flops",
    "macs": "cost.inference_macs",
    "parameters": "cost.parameters",
    "helper_parameters": "cost.helper_parameters",
    "inference_parameters": "cost.inference_parameters",
    "train_images": "origin.train_images",
    "test_images": "origin.test_images",
}
"""Numeric column -> where a `Result` holds it; NaN without a result."""

TEXTS = {
    "memory_source": "cost.memory_source",
    "device": "origin.device",
    "commit": "origin.commit",
    "source": "origin.source",
    "images": "origin.data",
}


@dataclass(frozen=True)
class Frame:
    """A sweep as far as it has come.

    Attributes:
        runs: one row per cell, in the sweep's order: what it is, its `state` and `reason`, and the
            columns of `NUMBERS` (`value`: the primary metric, memory in bytes), `TEXTS`,
            `exclusive`, `stale` (made with other training code), `versions` (JSON), `other_images`
            (made from other images than most runs of the data set), `counts` (done, and of the
            usual images: what means, gaps and figures are made of) and `same_as` (label of the
            recipe whose run it is, where a recipe is the very same; empty for a run of its own).
            Every secondary metric has columns `test_NAME` and `test_NAME_best`.
        curves: the primary metric after every epoch of runs that count: `path`, `epoch`, `value`.
        depth: the primary metric of every module's own head, likewise: `path`, `module` (from 1),
            `value`.
        angles: of gradients to backpropagation's, in degrees, and the ratios of their lengths, of
            runs that count and recorded them: `path`, `module` (from 1), `epoch` (0: before the
            first), `angle`, `ratio`.
        baseline: name of the recipe the others are compared with; None if the sweep has none.
        labels: recipe -> label, in the sweep's order.
        metrics: data set -> its primary metric, as far as a run has named it.
        secondary: data set -> its other metrics, by column, as far as a result has them.
        costs: path -> what the run cost, as far as there is a result.
        needs: path -> what a step of its method needs, as far as its result says it.
        common: training settings that all grids add, where several grids add different ones:
            `settings` holds the others.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    depth: pd.DataFrame
    angles: pd.DataFrame
    baseline: str | None
    labels: dict[str, str]
    metrics: dict[str, PrimaryMetric]
    secondary: dict[str, dict[str, PrimaryMetric]] = field(default_factory=dict)
    costs: dict[str, result.Cost] = field(default_factory=dict)
    needs: dict[str, result.Needs] = field(default_factory=dict)
    common: str = ""

    @property
    def done(self) -> pd.DataFrame:
        """The runs that count."""
        return self.runs[self.runs["counts"].astype(bool)]

    @property
    def uses(self) -> dict[str, result.Use]:
        """Path -> what the run used of its machine, as far as its result says it."""
        return {path: cost.use for path, cost in self.costs.items() if cost.use}

    @property
    def primary(self) -> list[PrimaryMetric]:
        """The primary metrics of the sweep, one of each."""
        return list(dict.fromkeys(map(self.metric, self.runs["dataset"].unique())))

    @property
    def trained(self) -> Frame:
        """Every run once, under the recipe that it was trained by."""
        own = self.runs["same_as"] == "" if len(self.runs) else slice(None)
        return replace(self, runs=self.runs[own])

    def of(self, recipes: Container[str | None]) -> Frame:
        """The runs of some recipes alone."""
        labels = {name: label for name, label in self.labels.items() if name in recipes}
        runs = self.runs[self.runs["recipe"].isin(labels)] if len(self.runs) else self.runs
        baseline = self.baseline if self.baseline in labels else None
        return replace(self, runs=runs, labels=labels, baseline=baseline)

    def metric(self, dataset: str) -> PrimaryMetric:
        """The primary metric of a data set; test error as long as no run has named it."""
        return self.metrics.get(dataset, PrimaryMetric())

    def on_test(self, dataset: str) -> dict[str, PrimaryMetric]:
        """The metrics of a data set, by their names in `references.csv`, the primary one first."""
        primary = self.metric(dataset)
        return {f"test_{primary.name}": primary} | self.secondary.get(dataset, {})


def read(plan: Plan, runs: Path) -> Frame:
    """Read what exists of every reported cell; nothing on disk makes this fail.

    Args:
        plan: the sweep.
        runs: folder that the cells' paths start from.
    """
    common, settings = _settings(plan)
    labels = _labels(plan.catalog, dict.fromkeys(cell.recipe for _, cell in plan.rows))
    rows, curves, depth, angles = [], [], [], []
    metrics: dict[str, PrimaryMetric] = {}
    secondary: dict[str, dict[str, PrimaryMetric]] = {}
    costs: dict[str, result.Cost] = {}
    needs: dict[str, result.Needs] = {}
    trained = [cell for _, cell in plan.reported]
    states = run_states(trained, runs, keep="primary")
    others = other_images(zip(trained, states, strict=True))
    run_at = dict(zip((cell.path for cell in trained), states, strict=True))
    for grid, row in plan.rows:
        cell = plan.run_of(row)
        run, again = run_at[cell.path], cell is not row
        state, reason, found = _against_others(cell, run, metrics)
        other = others.get(cell.path) if found else None
        counts = state == "done" and not other
        said = {
            "label": labels[row.recipe],
            "same_as": labels[cell.recipe] if again else "",
            "settings": settings[grid],
            "batch_size": cell.training.batch_size,
            "devices": cell.training.devices,
            "optimizer": cell.training.optimizer,
            "state": state,
            "reason": textwrap.shorten(
                "; ".join(filter(None, [reason, other])), 240, placeholder=" …"
            ),
            "other_images": other is not None,
            "counts": counts,
        }
        rows.append(_cell(row) | {"path": cell.path} | said | _numbers(found))
        for it in found.secondary if found else ():
            name = f"test_{it.metric.name}"
            secondary.setdefault(cell.dataset, {})[name] = it.metric
            rows[-1] |= {name: it.last, f"{name}_best": it.best}
        if found:
            costs[cell.path] = found.cost
        if found and found.needs:
            needs[cell.path] = found.needs
        if found and counts and not again:
            curves += [(cell.path, *point) for point in _curve(run.history, found.metric)]
            depth += [
                (cell.path, k, v) for k, v in enumerate(found.module_metrics, 1) if v is not None
            ]
            if cell.training.gradient_angles:
                angles += [(cell.path, *point) for point in _angles(runs / cell.path)]
    table = (
        pd.DataFrame(rows).astype(dict.fromkeys(NUMBERS, float))
        if rows
        else pd.DataFrame(columns=["dataset", "state", "other_images", "counts"])
    )
    return Frame(
        table,
        pd.DataFrame(curves, columns=["path", "epoch", "value"]).astype({"value": float}),
        pd.DataFrame(depth, columns=["path", "module", "value"]).astype({"value": float}),
        pd.DataFrame(angles, columns=["path", "module", "epoch", "angle", "ratio"]),
        plan.catalog.baseline(labels),
        labels,
        metrics,
        secondary,
        costs,
        needs,
        common,
    )


def _against_others(
    cell: Cell, run: RunState, metrics: dict[str, PrimaryMetric]
) -> tuple[str, str, result.Result | None]:
    """State, reason and result of a run; `damaged` if its metric is not that of the runs before it.

    Args:
        cell: the cell.
        run: its run.
        metrics: data set -> primary metric of the runs before it; a new one is added.
    """
    if not (run.result or run.history.starts):
        return run.state, _reason(run), None
    others = metrics.setdefault(cell.dataset, run.metric)
    if run.metric == others:
        return run.state, _reason(run), run.result
    return "damaged", f"primary metric {run.metric.name}; other runs have {others.name}", None


def _cell(cell: Cell) -> dict[str, Any]:
    names = ("path", "dataset", "network", "recipe", "method", "modules", "seed")
    return {name: getattr(cell, name) for name in names}


def _numbers(found: result.Result | None) -> dict[str, Any]:
    """The columns that a result fills."""
    return {name: _get(found, where) for name, where in (NUMBERS | TEXTS).items()} | {
        "exclusive": bool(found and found.origin.exclusive),
        "stale": bool(found and found.origin.source != source_hash(found.cell)),
        "versions": json.dumps(found.origin.versions, sort_keys=True) if found else None,
    }


def _settings(plan: Plan) -> tuple[str, list[str]]:
    """The training settings that every grid adds, as text: only cells for which they are equal are
    compared. Where they are not all equal, those that all grids share stand apart, first."""
    on = f" on {plan.times.device}" if plan.times else ""
    grids = []
    for grid in plan.sweep.grids:
        values = {
            k: f"{v:g}" if isinstance(v, float) else str(v)
            for k, v in sorted(grid.training.items())
        }
        if grid.partition:
            values["partition"] = partition_text(grid.partition)
        if reuse := grid.reuse:
            of = " ".join(filter(None, [reuse.recipe, reuse.dataset]))
            kept = "frozen" if reuse.frozen else "trained on"
            values["reuse"] = f"{reuse.modules} modules of {of}, {kept}"
        grids.append({f"{k}={v}{on * (k == 'seconds')}": None for k, v in values.items()})
    several = any(grid != grids[0] for grid in grids)
    shared = [text for text in grids[0] if all(text in grid for grid in grids)] if several else []
    return ", ".join(shared), [", ".join(t for t in grid if t not in shared) for grid in grids]


def _labels(catalog: Catalog, names: Iterable[str]) -> dict[str, str]:
    """Recipe -> label, with the recipe's name where two share one."""
    labels = {n: catalog.recipes.recipes[n].label for n in names}
    uses = Counter(labels.values())
    return {n: label if uses[label] == 1 else f"{label} ({n})" for n, label in labels.items()}


def _reason(found: RunState) -> str:
    """Reason of a state, with what is known of the progress of a run that has none."""
    if found.result:
        trained = f"(after {found.epoch} of {found.epochs} epochs)"
        return "" if found.state == "done" else f"{found.why or 'no reason given'} {trained}"
    if found.state in ("running", "stopped") and found.history.starts:
        return "; ".join(filter(None, [_progress(found), found.why]))
    return found.why or {"waiting": "not begun", "queued": "in Slurm's queue"}.get(found.state, "")


def _progress(found: RunState) -> str:
    last = datetime.fromtimestamp(found.history.spans[-1][1] / 1000, UTC)
    of = f" of {found.epochs}" if found.epochs else ""
    return f"epoch {found.epoch}{of}, last entry {last:%Y-%m-%d %H:%M} UTC"


def _curve(history: RunHistory, metric: PrimaryMetric) -> list[tuple[int, float]]:
    return sorted(
        (epoch, value)
        for (name, epoch), (value, _) in history.settled().items()
        if name == f"test_{metric.name}/overall"
    )


def _angles(folder: Path) -> list[tuple[int, int, float, float]]:
    """Module, epoch, angle and ratio, as a run recorded them."""
    settled, name = record.read(folder).settled(), "gradient_angle/module_"
    return sorted(
        (int(k) + 1, epoch, angle, settled[f"gradient_norm_ratio/module_{k}", epoch][0])
        for (metric, epoch), (angle, _) in settled.items()
        if metric.startswith(name) and (k := metric.removeprefix(name))
    )


def _get(found: result.Result | None, where: str) -> Any:
    """The value at `a.b` of a result; None without one."""
    value: Any = found
    for part in where.split("."):
        value = None if value is None else getattr(value, part)
    return value
