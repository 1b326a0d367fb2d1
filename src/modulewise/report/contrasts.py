"""What a sweep was planned to decide: its contrasts, judged over the seeds that are complete.

A contrast has one value a seed, of cells of that seed alone; a seed counts where all of them have a
result. Its mean is tested against zero by a two-sided paired t-test; an equivalence by two
one-sided ones against its margin. Holm's correction is over the whole family, contrasts without a
result included. Nothing is decided before the planned number of seeds is there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from modulewise.config.analysis import Analysis, Contrast, Term
from modulewise.config.contrasts import cells_of
from modulewise.config.plan import Plan
from modulewise.report.frame import Frame
from modulewise.report.stats import FLOAT_NOISE, mean
from modulewise.report.verdicts import holm

Values = Mapping[str, float]
"""Value of the primary metric by the path of the run."""


def judge(plan: Plan, frame: Frame, analysis: Analysis) -> pd.DataFrame:
    """One row per planned contrast, in the plan's order.

    Args:
        plan: the sweep.
        frame: its runs.
        analysis: what was planned.

    Returns:
        `family`, `contrast`, `kind`, `hypothesis`, `dataset`, `margin`; `planned` and `n` seeds;
        `mean`, `std`, and the interval `low` to `high`, at 1 - alpha, or 1 - 2 alpha of an
        equivalence; `p` and `p_adjusted`; `found`: `above`, `below` (zero), `within`, `not shown`,
        or empty with the `reason`.
    """
    done = frame.done
    values: Values = dict(zip(done["path"], done["value"], strict=True)) if len(done) else {}
    rows = [
        {"family": family} | _row(plan, contrast, analysis, values)
        for family, contrast in analysis.contrasts()
    ]
    for family in ("primary", "secondary"):
        mine = [row for row in rows if row["family"] == family]
        tested = [1.0 if math.isnan(row["p"]) else row["p"] for row in mine]
        for row, p in zip(mine, holm(tested), strict=True):
            row["p_adjusted"] = math.nan if math.isnan(row["p"]) else p
            row["found"] = _found(row, analysis.alpha)
    return pd.DataFrame(rows)


def _row(plan: Plan, contrast: Contrast, analysis: Analysis, values: Values) -> dict[str, Any]:
    found = pd.Series(of_seeds(plan, contrast, values), dtype=float)
    alpha = analysis.alpha
    m = mean(found, 1 - 2 * alpha if contrast.equivalence else 1 - alpha)
    first = next(iter(cells_of(contrast.terms[0], plan.rows, plan.where).values()))
    row = {
        "contrast": contrast.name,
        "kind": next(k for k in ("slope", "difference", "equivalence") if getattr(contrast, k)),
        "hypothesis": contrast.hypothesis,
        "dataset": first[0].cell.dataset,
        "margin": contrast.margin or math.nan,
        "planned": analysis.n,
    }
    reason = ""
    if m.n < analysis.n:
        reason = f"{m.n} of {analysis.n} planned seeds are complete"
    elif m.std <= FLOAT_NOISE * max(1.0, float(found.abs().max())):
        reason = "all seeds tie: no interval can be given"
    p = math.nan if reason else _p(m.mean, m.std / math.sqrt(m.n), m.n - 1, contrast.margin)
    return row | m._asdict() | {"p": p, "reason": reason}


def _p(value: float, error: float, freedom: int, margin: float | None) -> float:
    """Of a mean of zero, two-sided; of an equivalence, that it lies beyond the margin."""
    if margin is None:
        return 2 * float(special.stdtr(freedom, -abs(value) / error))
    return float(special.stdtr(freedom, (abs(value) - margin) / error))


def _found(row: Mapping[str, Any], alpha: float) -> str:
    if row["reason"]:
        return ""
    if not row["p_adjusted"] < alpha:
        return "not shown"
    if row["kind"] == "equivalence":
        return "within"
    return "above" if row["mean"] > 0 else "below"


def of_seeds(plan: Plan, contrast: Contrast, values: Values) -> dict[int, float]:
    """The contrast of every seed that is complete.

    Args:
        plan: the sweep.
        contrast: the contrast.
        values: of the runs that count.
    """
    if contrast.slope:
        by_k = {k: _by_seed(plan, contrast.slope, k, values) for k in _ks(plan, contrast.slope)}
        x = np.log2(list(by_k))
        seeds = _common(by_k.values())
        return {s: float(np.polyfit(x, [by_k[k][s] for k in by_k], 1)[0]) for s in seeds}
    one, other = (_by_seed(plan, term, None, values) for term in contrast.terms)
    return {s: one[s] - other[s] for s in _common((one, other))}


def _ks(plan: Plan, term: Term) -> list[int]:
    return list(cells_of(term, plan.rows, plan.where))


def _by_seed(plan: Plan, term: Term, k: int | None, values: Values) -> dict[int, float]:
    groups = cells_of(term, plan.rows, plan.where)
    cells = groups[k] if k is not None else next(iter(groups.values()))
    paths = {it.cell.seed: plan.run_of(it.cell).path for it in cells}
    return {seed: values[path] for seed, path in paths.items() if path in values}


def _common(groups: Iterable[Mapping[int, float]]) -> list[int]:
    """Seeds that all of them have."""
    first, *others = groups
    return sorted(s for s in first if all(s in other for other in others))
