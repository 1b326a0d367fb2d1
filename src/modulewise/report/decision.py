"""Is local learning worth it? A rule over memory, time and the primary metric.

A configuration (recipe and K) of local learning is

- **dominated** if an end-to-end arm needs no more memory and no more time than it;
- **less accurate** if it loses more than the margin against the baseline;
- **worth it** if neither an end-to-end arm is at once as small and as fast, nor does it lose the
  margin;
- **unknown** if there is too little to say so.

Losses are paired by seed. Both tests are one-sided at `LEVEL`, with Holm's correction over the
configurations of a data set and network that no end-to-end arm beats. End-to-end arms are those
whose gradient horizon is all of the modules; all of them measured on the same network count,
whatever their precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from modulewise import detection
from modulewise.report import seeds
from modulewise.report.frame import Frame
from modulewise.report.fronts import MEMORY, TIME
from modulewise.report.hull import Arm, beaten_by
from modulewise.report.stats import (
    NO_MEMORY,
    NO_TIME,
    PROVISIONAL,
    SAME,
    TIED,
    Mean,
    paired,
    relative,
)
from modulewise.report.verdicts import LEVEL, holm
from modulewise.runs.result import PrimaryMetric

MARGIN = 0.5
"""Loss below which a configuration counts as accurate as the baseline, in points of a metric in
percent; a sweep may set another."""
ARM = ["settings", "recipe", "modules"]
"""What the seeds of an arm share."""
ALIKE = list(dict.fromkeys([*MEMORY.same, *TIME.same, "planned_epochs"]))
"""What must be equal for the costs of two runs to be compared."""
BUDGET = ["batch_size", "planned_epochs"]
"""What must be equal for their metric to be compared."""
RIVALS = (
    "checkpoint-cuts",
    "checkpoint-blocks",
    "checkpoint-sqrt",
    "checkpoint-selective",
    "offload",
)
"""Recipes that save memory end to end, named as far as the catalog has them."""
SAVING = ("precision=", "accumulate=")
"""In the settings of a grid: they make another arm of the baseline."""
NO_HULL = (
    "no end-to-end run had a device of this model to itself, at the same batch size and number of "
    "epochs"
)
COSTS, BASELINE, FAILED, FEW, NO_MARGIN = (
    "costs that cannot be compared",
    "no baseline to compare with",
    "runs that diverged or ran out of memory",
    "too few seeds",
    "no margin for this metric",
)
"""Why a configuration is unknown."""


Key = tuple[Any, ...]
Run = dict[Any, Any]
"""A row of the frame's runs, or of their costs."""


class Loss(NamedTuple):
    """Loss of a configuration against the baseline, in the metric's unit, over n paired seeds."""

    n: int
    mean: float
    std: float

    def p(self, margin: float, more: bool) -> float:
        """One-sided p-value of a loss on the other side of the margin: small where the loss is
        less than the margin, or `more`."""
        distance = (self.mean - margin) * (1 if more else -1)
        return float(special.stdtr(self.n - 1, -distance / self.std * self.n**0.5))

    def seeds_needed(self, margin: float, comparisons: int) -> int | None:
        """The smallest number of seeds, above the present one, that ends in a verdict with a chance
        of `detection.POWER` if mean and spread are the true ones; corrected by Bonferroni, so not
        too few. None if `MOST_SEEDS` are not enough."""
        effect = abs(self.mean - margin) / self.std
        return seeds.needed(effect, LEVEL / comparisons, sides=1, above=self.n)


def margin_of(metric: PrimaryMetric, chosen: float | None) -> float | None:
    """The margin: the sweep's, else `MARGIN` for a metric in percent; None for others."""
    return chosen if chosen is not None else MARGIN if metric.unit == "%" else None


def decide(frame: Frame, dataset: str, network: str, margin: float | None) -> pd.DataFrame:
    """One row per configuration of local learning that has a result, in the sweep's order.

    Args:
        frame: the runs.
        dataset: of the runs compared.
        network: likewise.
        margin: in the metric's unit, above zero; None: nothing is said of accuracy.

    Returns:
        Memory in bytes and seconds of a step where an end-to-end arm was measured alike,
        their ratios to the baseline's (that of memory also where time was not measured);
        `beaten_by` (an end-to-end arm, or empty); gaps (ours minus the baseline's, with the
        90 % interval), `p_less` and `p_more` than the margin after Holm's correction for
        `family` configurations; `accurate` (yes, no, unknown, or empty where it was not
        asked), `seeds_needed`, `verdict`, and why it is unknown: `because` and `reason`.
    """
    runs = frame.runs
    runs = runs[(runs["dataset"] == dataset) & (runs["network"] == network)]
    runs = runs[runs["horizon"].notna()]
    costs = _measured(costs_of(runs[runs["counts"].astype(bool)]), frame)
    arms: dict[Key, list[Run]] = {}
    for run in runs.to_dict("records"):
        arms.setdefault(tuple(run[k] for k in ARM), []).append(run)
    rows = []
    for key, mine in arms.items():
        if mine[0]["horizon"] >= mine[0]["modules"]:
            continue
        base = arms.get((key[0], frame.baseline, 1), [])
        row = dict(zip(ARM, key, strict=True)) | {"label": mine[0]["label"]}
        place = _place(key, mine, costs)
        if place["obstacle"]:
            same = SAME["memory"]
            ours, theirs = (_columns(runs, "memory", *same) for runs in (mine, base))
            place["memory_ratio"] = relative(ours, theirs, "memory", same, NO_MEMORY).value
        rows.append(row | place | _gap(mine, base, frame.metric(dataset)))
    if not rows:
        return pd.DataFrame()
    settings = {name: n for n, name in enumerate(runs["settings"].unique())}
    order = {name: n for n, name in enumerate(frame.labels)}
    rows.sort(key=lambda r: (settings[r["settings"]], order[r["recipe"]], r["modules"]))
    _judge(rows, margin)
    table = pd.DataFrame(rows).drop(columns="loss")
    table.insert(0, "network", network)
    table.insert(0, "dataset", dataset)
    return table


def costs_of(done: pd.DataFrame) -> pd.DataFrame:
    """Medians of every arm, a row for each way it was measured; the more runs the earlier."""
    measured = done[done["exclusive"].astype(bool)]
    measured = measured.dropna(subset=["memory", "step_seconds", *ALIKE])
    measured = measured.assign(end_to_end=measured["horizon"] >= measured["modules"])
    groups = measured.groupby([*ALIKE, *ARM, "end_to_end"], sort=False)
    table = groups[["memory", "step_seconds"]].median().assign(n=groups.size()).reset_index()
    return table.sort_values("n", ascending=False, kind="stable")


class Measured(NamedTuple):
    """Costs of the arms, and what those measured alike have end to end."""

    arms: dict[Key, list[Run]]
    ends: dict[Key, list[Arm]]
    base: dict[Key, Arm]
    """What is alike and the settings -> the baseline."""


def _measured(costs: pd.DataFrame, frame: Frame) -> Measured:
    found, several = Measured({}, {}, {}), costs["settings"].nunique() > 1
    for row in costs.to_dict("records"):
        alike = tuple(row[k] for k in ALIKE)
        found.arms.setdefault(tuple(row[k] for k in ARM), []).append(row | {"alike": alike})
        if row["end_to_end"]:
            words = [frame.labels[row["recipe"]]]
            words += [f"K = {row['modules']}"] * (row["modules"] > 1)
            words += [f"({row['settings']})"] * (several and bool(row["settings"]))
            arm = Arm(" ".join(words), row["memory"], row["step_seconds"])
            found.ends.setdefault(alike, []).append(arm)
            if row["recipe"] == frame.baseline:
                found.base[*alike, row["settings"]] = arm
    return found


def _place(key: Key, mine: list[Run], costs: Measured) -> dict[str, Any]:
    """Where an arm lies: its costs, those over the baseline's, and what beats it."""
    names = ("memory", "step_seconds", "memory_ratio", "time_ratio")
    out: dict[str, Any] = dict.fromkeys(names, math.nan)
    out |= {"device": "", "beaten_by": "", "obstacle": ""}
    for own in costs.arms.get(key, []):
        if own["alike"] in costs.ends:
            arm = Arm("", own["memory"], own["step_seconds"])
            out |= {k: own[k] for k in ("memory", "step_seconds", "device")}
            if base := costs.base.get((*own["alike"], key[0])):
                out["memory_ratio"] = arm.memory / base.memory
                out["time_ratio"] = arm.seconds / base.seconds
            best = beaten_by(arm, costs.ends[own["alike"]])
            return out | {"beaten_by": best.name if best else ""}
    done = [r for r in mine if r["counts"]]
    lacks = {
        "no run is done": not done,
        NO_MEMORY[0]: all(math.isnan(r["memory"]) for r in done),
        NO_TIME[0]: not any(r["exclusive"] and not math.isnan(r["step_seconds"]) for r in done),
    }
    return out | {"obstacle": next((reason for reason, holds in lacks.items() if holds), NO_HULL)}


def _columns(runs: list[Run], *names: str) -> dict[str, np.ndarray]:
    """The runs that count, by column."""
    return {name: np.array([r[name] for r in runs if r["counts"]], object) for name in names}


def _gap(mine: list[Run], base: list[Run], metric: PrimaryMetric) -> dict[str, Any]:
    """The gap to the baseline, and why it allows no verdict, if it does not."""
    failed, total = sum(r["state"] in ("diverged", "out_of_memory") for r in mine), len(mine)
    mine, base = ([r for r in runs if r["counts"]] for runs in (mine, base))
    alike = len({tuple(r[k] for k in BUDGET) for r in (*mine, *base)}) == 1
    ours, theirs = (
        {name: np.array([r[name] for r in runs], float) for name in ("seed", "value")}
        for runs in (mine, base if alike else [])
    )
    gap = paired(ours, theirs, 1 - 2 * LEVEL)
    out = {f"gap_{k}": v for k, v in gap._asdict().items()}
    out["loss"] = Loss(gap.n, metric.rank(gap.mean), gap.std)
    because, reason = _why_no_test(gap, failed, total, len(base), alike)
    return out | {"because": because, "reason": reason, "tested": not because}


def _why_no_test(gap: Mean, failed: int, total: int, base: int, alike: bool) -> tuple[str, str]:
    """Why a gap allows no test: in short, and in full."""
    if failed:
        return FAILED, f"{failed} of {total} runs diverged or ran out of memory"
    if not base:
        return BASELINE, "no finished baseline run with the same training settings"
    if not alike:
        return BASELINE, "the baseline has another batch size or number of epochs"
    if gap.n < PROVISIONAL:
        have = seeds.counted(gap.n)
        return FEW, f"{have} in common with the baseline; a verdict needs {PROVISIONAL}"
    if gap.std == 0:
        return FEW, TIED
    return "", ""


def _judge(rows: list[dict[str, Any]], margin: float | None) -> None:
    """Add tests and verdicts."""
    for row in rows:
        row |= dict.fromkeys(("p_less", "p_more", "seeds_needed"), math.nan)
        if margin is None and not row["because"]:
            row |= {"because": NO_MARGIN, "reason": NO_MARGIN, "tested": False}
        row["tested"] &= not row["beaten_by"]
    family: list[dict[str, Any]] = [r for r in rows if r["tested"]]
    for name, more in (("p_less", False), ("p_more", True)):
        for row, p in zip(family, holm([r["loss"].p(margin, more) for r in family]), strict=True):
            row[name] = p
    for row in rows:
        row["family"] = len(family)
        less, more = row["p_less"] < LEVEL, row["p_more"] < LEVEL
        row["accurate"] = "yes" if less else "no" if more else "unknown"
        if row["beaten_by"]:
            row |= {"accurate": "", "verdict": "dominated", "because": "", "reason": ""}
        elif more:
            row["verdict"] = "less accurate"
        elif less and not row["obstacle"]:
            row["verdict"] = "worth it"
        else:
            row["verdict"] = "unknown"
            _explain(row, margin, len(family))


def _explain(row: dict[str, Any], margin: float | None, family: int) -> None:
    """Why a verdict is unknown: runs that failed first, then seeds, and costs beside them."""
    costs, open_ = row["obstacle"], row["tested"] and row["accurate"] == "unknown"
    if costs and row["because"] != FAILED and not open_:
        row |= {"because": COSTS, "reason": costs}
    elif open_ and margin is not None:
        needed = row["loss"].seeds_needed(margin, family)
        row["seeds_needed"] = needed or math.nan
        alone = min(row["loss"].p(margin, more) for more in (True, False)) < LEVEL
        words = f"not after Holm’s correction for {family} configurations: " if alone else ""
        row |= {
            "because": FEW,
            "reason": f"{words}{row['gap_n']} seeds; {seeds.many(needed)} end in a verdict with a "
            f"chance of {100 * detection.POWER:.0f} % if mean and spread stay; {seeds.FIX}",
        }
        if costs:
            row |= {"because": f"{FEW}, and {COSTS}", "reason": f"{row['reason']}; and {costs}"}


def missing(frame: Frame, dataset: str, network: str, known: Iterable[str]) -> list[str] | None:
    """Recipes to add where the only end-to-end arm is the baseline itself, which a comparison with
    local learning flatters; None if there are others.

    Args:
        frame: the runs.
        dataset: of the runs compared.
        network: likewise.
        known: names of the catalog's recipes.
    """
    done = frame.done[(frame.done["dataset"] == dataset) & (frame.done["network"] == network)]
    local = set(done.loc[done["horizon"] < done["modules"], "recipe"]) | {frame.baseline}
    settings = set(done.loc[done["recipe"] == frame.baseline, "settings"])
    saving = [s for s in settings if any(word in s for word in SAVING)]
    if set(done["recipe"]) - local or (saving and len(settings) > 1):
        return None
    return [name for name in RIVALS if name in set(known)]
