"""What as many devices as modules would give: the critical path of a step, from the seconds that
the steps of modules took in the runs.

Module k waits for its input alone. The first batch of an epoch goes through all modules, and from
then on one is done as often as the slowest module makes a step: an epoch of n batches takes
t_1 + ... + t_K + (n - 1) max t, where the joint schedule takes n (t_1 + ... + t_K). Sending
features from device to device is not counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from modulewise import units
from modulewise.config.cell import Cell
from modulewise.config.plan import Plan
from modulewise.report import tables
from modulewise.report.frame import Frame
from modulewise.report.tables import Item, Table
from modulewise.runs.result import Cost

LISTED = 4
"""So many modules are listed one by one; of more the table says the range."""
KEYS = ["dataset", "network", "settings", "recipe", "label", "modules", "schedule", "device"]
"""Columns whose runs make one row."""
FIRST = (
    ("dataset", "Data set"),
    ("network", "Network"),
    ("settings", "Settings"),
    ("schedule", "Schedule"),
    ("device", "Device"),
)
"""Columns that are shown if the runs differ in them."""


class Path(NamedTuple):
    """The critical path of one module a device.

    Attributes:
        one: seconds of a step of all modules on one device.
        step: seconds between two steps once all modules are at work.
        speedup: how many times as fast an epoch is, filling and emptying not counted.
        epoch: likewise, counted; NaN if the number of batches is not known.
        idle: share of the time in which each module waits once all are at work.
    """

    one: float
    step: float
    speedup: float
    epoch: float
    idle: tuple[float, ...]


def path(seconds: Sequence[float], batches: int | None = None) -> Path:
    """The critical path of modules whose steps take so many seconds.

    Args:
        seconds: of a step of each module, at least one above zero.
        batches: of an epoch.

    Example:
        >>> found = path([0.3, 0.2, 0.1], batches=4)
        >>> round(found.speedup, 9), round(found.epoch, 9), [round(i, 3) for i in found.idle]
        (2.0, 1.6, [0.0, 0.333, 0.667])
    """
    one, step = sum(seconds), max(seconds)
    epoch = one * batches / (one + (batches - 1) * step) if batches else float("nan")
    return Path(one, step, one / step, epoch, tuple(1 - s / step for s in seconds))


def numbers(plan: Plan, frame: Frame) -> pd.DataFrame:
    """One row for every group of runs that differ in the seed alone and measured their modules:
    the columns of `KEYS`, `runs`, `seconds` and `idle` (of every module), `one`, `step`, `speedup`,
    `epoch`, and `measured`: the median over seeds of how many times as fast steps came as under the
    joint schedule on a device of the same kind, had to itself; NaN without both.

    Seconds are medians over the runs.
    """
    rows = []
    counted = frame.done[frame.done["same_as"] == ""] if len(frame.done) else frame.done
    runs = {run["path"]: run for _, run in counted.iterrows()}
    for _, cell in plan.reported:
        cost = frame.costs.get(cell.path)
        if cost and cost.module_seconds and cell.path in runs:
            run = runs[cell.path]
            rows.append(
                {name: run[name] for name in KEYS if name != "schedule"}
                | {"schedule": cell.training.schedule, "settings": _others(run["settings"])}
                | {"seconds": cost.module_seconds}
                | {"batches": _batches(cost), "measured": _measured(cell, cost, frame, runs)}
            )
    out = []
    for key, mine in pd.DataFrame(rows, columns=[*KEYS, "seconds", "batches", "measured"]).groupby(
        KEYS, sort=False
    ):
        seconds = [statistics.median(them) for them in zip(*mine["seconds"], strict=True)]
        batches = mine["batches"].iloc[0]
        found = path(seconds, int(batches) if pd.notna(batches) else None)
        out.append(
            dict(zip(KEYS, key, strict=True))
            | {"runs": len(mine), "seconds": seconds}
            | found._asdict()
            | {"measured": mine["measured"].median()}
        )
    return pd.DataFrame(out)


def _others(settings: str) -> str:
    """Training settings that a grid adds, without the schedule."""
    return ", ".join(s for s in settings.split(", ") if not s.startswith("schedule="))


def _batches(cost: Cost) -> float:
    """Batches of an epoch; NaN if no epoch was timed."""
    if not (cost.epoch_seconds and cost.step_seconds):
        return float("nan")
    return round(cost.epoch_seconds / cost.step_seconds)


def _measured(cell: Cell, cost: Cost, frame: Frame, runs: dict[Any, pd.Series]) -> float:
    """How many times as fast a parallel run's steps came as those of the joint run of the same
    cell; NaN for want of one of the two, or where they were made on other devices, or the joint run
    shared its own. Of a parallel run on CPU cores nobody can tell: its main thread only waits."""
    training = cell.training.model_copy(update={"schedule": "joint"})
    twin = cell.model_copy(update={"training": training}).path
    joint = frame.costs.get(twin)
    if cell.training.schedule != "parallel" or not joint or twin not in runs:
        return float("nan")
    if runs[twin]["device"] != runs[cell.path]["device"] or not runs[twin]["exclusive"]:
        return float("nan")
    if not (joint.step_seconds and cost.step_seconds):
        return float("nan")
    return joint.step_seconds / cost.step_seconds


def show(found: pd.DataFrame) -> Table:
    """The rows as people read them."""
    first = [(name, title) for name, title in FIRST if found[name].nunique() > 1]
    compared = bool(found["measured"].notna().any())
    columns = [(title, "l") for _, title in first] + [("Recipe", "l"), tables.K]
    columns += [("A step of each module", "r"), ("Idle", "r"), ("One device", "r")]
    columns += [("K devices", "r"), ("Speed-up", "r"), ("Over an epoch", "r")]
    columns += [("Measured", "r")] * compared + [("Runs", "r")]
    table = Table(columns, [])
    for _, row in found.iterrows():
        idle = [f"{100 * share:.0f}" for share in row["idle"]]
        cells = [
            *(Item(str(row[name]) or "recipe’s own") for name, _ in first),
            Item(row["label"]),
            Item(str(row["modules"])),
            Item(_each([units.time(s) for s in row["seconds"]], row["seconds"])),
            Item(f"{_each(idle, row['idle'])} %"),
            Item(units.time(row["one"]), key=row["one"]),
            Item(units.time(row["step"]), key=row["step"]),
            Item(tables.times(row["speedup"])),
            Item(tables.times(row["epoch"])),
            *[Item(tables.times(row["measured"]))] * compared,
            Item(str(row["runs"])),
        ]
        table.rows.append(cells)
    return table


def _each(texts: list[str], values: Sequence[float]) -> str:
    """The texts of all modules in order; of many the least and the largest."""
    if len(texts) <= LISTED:
        return ", ".join(texts)
    ends = (
        min(range(len(texts)), key=values.__getitem__),
        max(range(len(texts)), key=values.__getitem__),
    )
    return " – ".join(texts[k] for k in ends)


def section(plan: Plan, frame: Frame, files: dict[str, bytes]) -> dict[str, Any] | None:
    """What the page shows; None if no run measured its modules. Adds the files."""
    found = numbers(plan, frame)
    if not len(found):
        return None
    table = show(found)
    files["tables/pipeline.csv"] = tables.to_csv(by_module(found))
    files["tables/pipeline.tex"] = tables.to_latex(table)
    return {"table": table, "compared": bool(found["measured"].notna().any())}


def by_module(found: pd.DataFrame) -> pd.DataFrame:
    """One row a module, counted from 1, with `module_seconds` and `module_idle`."""
    whole = found.drop(columns=["seconds", "idle"])
    rows = [
        row | {"module": k, "module_seconds": s, "module_idle": i}
        for row, each, idle in zip(
            whole.to_dict("records"), found["seconds"], found["idle"], strict=True
        )
        for k, (s, i) in enumerate(zip(each, idle, strict=True), 1)
    ]
    return pd.DataFrame(rows)
