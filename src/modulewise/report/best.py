"""Which rows of a table are the best, and which cannot be told apart from them.

Of rows with equal added settings, in every data set and network:

- **primary metric**: the best mean. Every other row is compared with it over the seeds that both
  have, by a one-sided paired t-test at `LEVEL`, corrected for the number of other rows
  (Bonferroni). A row that is not found worse cannot be told apart from the best; so the row that is
  truly the best is among those marked, but for one table of twenty (`tests/report/test_best.py`).
- **memory and time**: the least median among runs that were measured alike. A row whose least run
  needs no more than the largest run of the best one cannot be told apart from it.

Rows with fewer than `PROVISIONAL` seeds are not judged, nor are those some of whose seeds diverged
or ran out of memory (the mean of the others flatters), nor those that trained for another number of
epochs or at another batch size than the baseline, or without one than most rows. Seeds that all
differ by the same amount give no test, and cannot be told apart either.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from modulewise.report.decision import BUDGET
from modulewise.report.frame import Frame
from modulewise.report.stats import PLACE, PROVISIONAL, ROW, SAME, Mean, noise, paired
from modulewise.report.verdicts import LEVEL
from modulewise.runs.result import PrimaryMetric

Standing = Literal["best", "level", "behind", ""]
"""`level`: not told apart from the best; `behind`: worse; empty: not judged."""
COLUMNS = {"value": "value_standing", "memory": "memory_standing", "step_seconds": "time_standing"}
"""What is compared -> the column that says how a row stands."""


class Judged(NamedTuple):
    """How a row stands, and the corrected p-value of being no worse than the best."""

    standing: Standing
    p: float


def judged(rows: pd.DataFrame, frame: Frame) -> pd.DataFrame:
    """The rows with how they stand.

    Args:
        rows: of `stats.headline`.
        frame: what they were made of.

    Returns:
        The rows with `value_standing`, `value_p`, `memory_standing` and `time_standing`.
    """
    if rows.empty:
        return rows
    done = frame.done
    at = done.groupby(ROW, sort=False).indices if len(done) else {}
    columns = {str(name): done[name].to_numpy() for name in done}
    out = rows.assign(value_p=np.nan, **dict.fromkeys(COLUMNS.values(), ""))
    for key, group in rows.groupby(PLACE, sort=False):
        mine = {
            n: {name: values[at[place]] for name, values in columns.items()}
            for n, *place_ in group[ROW].itertuples(name=None)
            if (place := tuple(place_)) in at
        }
        whole = group["diverged"] + group["out_of_memory"] == 0
        equal = _of_one_budget(mine, [n for n in mine if group["is_baseline"][n]])
        fair = {n: runs for n, runs in mine.items() if whole[n] and n in equal}
        for n, it in metric(fair, frame.metric(str(key[0]))).items():
            out.loc[n, ["value_standing", "value_p"]] = it.standing, it.p
        for cost in SAME:
            for n, standing in least(mine, cost).items():
                out.loc[n, COLUMNS[cost]] = standing
    return out


def _of_one_budget(rows: dict[Any, dict[str, np.ndarray]], baseline: list[Any]) -> set[Any]:
    """The rows that trained by the baseline's budget, or without one by that of most rows."""
    budgets = {
        k: frozenset(zip(*(runs[name] for name in BUDGET), strict=True)) for k, runs in rows.items()
    }
    usual = Counter(budgets[k] for k in baseline or budgets).most_common(1)
    return {k for k, budget in budgets.items() if usual and budget == usual[0][0]}


def metric(rows: dict[Any, dict[str, np.ndarray]], primary: PrimaryMetric) -> dict[Any, Judged]:
    """How rows stand in the primary metric.

    Args:
        rows: name -> runs that count, with columns `seed` and `value`, one a seed.
        primary: the metric.

    Returns:
        Name -> standing, of the rows with enough seeds. If none has enough, the best means alone
        are `best` and nothing is said of the others.
    """
    enough = {k: runs for k, runs in rows.items() if len(runs["value"]) >= PROVISIONAL}
    means = {k: float(runs["value"].mean()) for k, runs in (enough or rows).items()}
    if not means:
        return {}
    top = min(means, key=lambda k: primary.rank(means[k]))
    out: dict[Any, Judged] = {}
    for k, value in means.items():
        if abs(value - means[top]) <= noise([value, means[top]]):
            out[k] = Judged("best", math.nan)
        elif enough:
            p = min(1.0, _p_worse(paired(rows[k], rows[top]), primary) * (len(means) - 1))
            out[k] = Judged("behind" if p < LEVEL else "level", p)
    return out


def _p_worse(difference: Mean, primary: PrimaryMetric) -> float:
    """One-sided p-value of a row that is no worse than the best; 1 where there is no test."""
    if difference.n < PROVISIONAL or not difference.std > 0:
        return 1.0
    t = primary.rank(difference.mean) / difference.std * math.sqrt(difference.n)
    return float(special.stdtr(difference.n - 1, -t))


def least(rows: dict[Any, dict[str, np.ndarray]], cost: str) -> dict[Any, Standing]:
    """How rows stand in a cost, among the most of them that were measured alike.

    Args:
        rows: name -> runs that count.
        cost: a column, a key of `stats.SAME`.
    """
    alike: dict[Any, dict[Any, list[float]]] = {}
    for k, runs in rows.items():
        values = runs[cost]
        known = ~np.isnan(values)
        if cost == "step_seconds":
            known &= runs["exclusive"].astype(bool)
        for how, value in zip(
            zip(*(runs[name][known] for name in SAME[cost]), strict=True),
            values[known],
            strict=True,
        ):
            alike.setdefault(how, {}).setdefault(k, []).append(float(value))
    if not alike:
        return {}
    most = Counter({how: len(found) for how, found in alike.items()}).most_common(1)[0][0]
    found = alike[most]
    medians = {k: float(np.median(values)) for k, values in found.items()}
    top = min(medians, key=lambda k: medians[k])
    out: dict[Any, Standing] = {}
    for k, measured in found.items():
        same = medians[k] == medians[top]
        out[k] = "best" if same else "level" if min(measured) <= max(found[top]) else "behind"
    return out
