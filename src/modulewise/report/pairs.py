"""Cells against one another, paired by seed: t-tests with Holm's correction, and why there is none.

Two cells are compared where both trained for the same number of epochs at the same batch size, no
seed of either diverged or ran out of memory (the mean of the others flatters), and `PROVISIONAL`
seeds or more are common to both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from modulewise.report import seeds
from modulewise.report.decision import BUDGET
from modulewise.report.frame import Frame
from modulewise.report.stats import FLOAT_NOISE, PLACE, PROVISIONAL, TIED
from modulewise.report.verdicts import LEVEL, holm, side
from modulewise.runs.result import PrimaryMetric

EQUAL = "equal at every seed"
OPEN = "not told apart"
"""Said of what was tested and not found."""
UNITS = {"batch_size": "batch size {:g}", "planned_epochs": "{:g} epochs"}
"""What is said of a budget."""


class Cells(NamedTuple):
    """The cells of one data set, network and settings.

    Attributes:
        keys: recipe and K of each.
        values: primary metric, seeds x cells; NaN where no run counts.
        budgets: of each, what its runs have of `BUDGET`, a row a budget.
        failed: of each, how many runs diverged or ran out of memory.
        planned: of each, the number of runs.
    """

    keys: list[tuple[str, int]]
    values: np.ndarray
    budgets: list[frozenset[tuple[float, ...]]]
    failed: list[int]
    planned: list[int]


def cells(runs: pd.DataFrame) -> Cells:
    """Gather the runs of one data set, network and settings, in their order.

    Args:
        runs: of `Frame.runs`.
    """
    order = {seed: n for n, seed in enumerate(sorted(runs["seed"].unique()))}
    columns = {name: runs[name].to_numpy() for name in ("seed", "value", "counts", "state")}
    budget = runs[BUDGET].to_numpy(float)
    found: dict[Any, Any] = dict(runs.groupby(["recipe", "modules"], sort=False).indices)
    places = sorted(found.items(), key=lambda item: int(item[1][0]))
    values = np.full((len(order), len(places)), np.nan)
    out = Cells([key for key, _ in places], values, [], [], [])
    for cell, (_, at) in enumerate(places):
        counts = columns["counts"][at].astype(bool)
        rows = [order[seed] for seed in columns["seed"][at][counts]]
        values[rows, cell] = columns["value"][at][counts]
        out.budgets.append(frozenset(map(tuple, budget[at][counts])))
        out.failed.append(int(np.isin(columns["state"][at], ("diverged", "out_of_memory")).sum()))
        out.planned.append(len(at))
    return out


def compare(of: Cells, pairs: Sequence[tuple[int, int]], metric: PrimaryMetric) -> pd.DataFrame:
    """Test pairs of cells as one family.

    Args:
        of: the cells.
        pairs: places of the two cells of each pair; differences are the first's minus the other's.
        metric: of the data set.

    Returns:
        One row a pair: `n` common seeds, `mean` and `std` of the differences, the 95 % interval
        `low` to `high` (not corrected), `p` and `p_adjusted` (Holm's, over the pairs that are
        tested), `found` (`better`, `worse`, `not told apart`; empty if it was not tested) and the
        `reason` for that. NaN where there is nothing.
    """
    first, second = (np.array([p[n] for p in pairs], int) for n in (0, 1))
    found = summary(of.values[:, first] - of.values[:, second])
    size = float(np.nanmax(np.abs(of.values), initial=1.0))
    tied = found["std"] <= FLOAT_NOISE * size
    ties = (_tie(*it, size) for it in zip(tied, found["mean"], strict=True))
    reasons = [
        _obstacle(of, a, b) or tie or _few(int(n))
        for a, b, tie, n in zip(first, second, ties, found["n"], strict=True)
    ]
    for name in ("low", "high"):
        found[name][tied] = np.nan
    tested = [n for n, reason in enumerate(reasons) if not reason]
    adjusted, words = np.full(len(pairs), np.nan), np.full(len(pairs), "", object)
    adjusted[tested] = holm(list(found["p"][tested]))
    for n in tested:
        better_or_worse = side(found["mean"][n], metric.direction)
        words[n] = better_or_worse if adjusted[n] < LEVEL else OPEN
    found["p"] = np.where(np.isnan(adjusted), np.nan, found["p"])
    return pd.DataFrame(found | {"p_adjusted": adjusted, "found": words, "reason": reasons})


def against_baseline(rows: pd.DataFrame, frame: Frame) -> pd.DataFrame:
    """The rows with their test against the baseline, one family for every data set, network and
    settings.

    Args:
        rows: of `best.judged`.
        frame: the runs.

    Returns:
        The rows with `gap_p`, `gap_p_adjusted`, `gap_found` and `gap_untested` (why it was not),
        as of `compare`; nothing in the baseline's own row.
    """
    if rows.empty:
        return rows
    names = {"p": "gap_p", "p_adjusted": "gap_p_adjusted", "found": "gap_found"}
    names["reason"] = "gap_untested"
    out = rows.assign(gap_p=np.nan, gap_p_adjusted=np.nan, gap_found="", gap_untested="")
    runs = dict(list(frame.runs.groupby(PLACE, sort=False)))
    for place, group in rows.groupby(PLACE, sort=False):
        of = cells(runs[place])
        at = {key: n for n, key in enumerate(of.keys)}
        base = at.get((str(frame.baseline), 1))
        others = group[~group["is_baseline"]]
        if base is None or others.empty:
            out.loc[others.index, "gap_untested"] = "no baseline" * (base is None)
            continue
        keys = others[["recipe", "modules"]].itertuples(index=False, name=None)
        found = compare(of, [(at[key], base) for key in keys], frame.metric(str(place[0])))
        for name, column in names.items():
            out.loc[others.index, column] = found[name].to_numpy()
    return out


def summary(differences: np.ndarray, level: float = 0.95) -> dict[str, np.ndarray]:
    """Mean, spread, t-interval and two-sided p-value of every column, NaN left out.

    Args:
        differences: seeds x columns.
        level: of the interval.
    """
    known = ~np.isnan(differences)
    n = known.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, differences, 0).sum(axis=0) / n
        squares = (np.where(known, differences - mean, 0) ** 2).sum(axis=0)
        std = np.sqrt(squares / np.where(n > 1, n - 1, np.nan))
        error = std / np.sqrt(n)
        half = special.stdtrit(np.maximum(n - 1, 1), (1 + level) / 2) * error
        p = 2 * special.stdtr(np.maximum(n - 1, 1), -np.abs(mean) / error)
    return {"n": n, "mean": mean, "std": std, "low": mean - half, "high": mean + half, "p": p}


def _obstacle(of: Cells, first: int, second: int) -> str:
    """Why two cells are not compared, whatever their values are."""
    if not (of.budgets[first] and of.budgets[second]):
        return "no run is done"
    for cell in (first, second):
        if of.failed[cell]:
            return f"{of.failed[cell]} of {of.planned[cell]} runs diverged or ran out of memory"
    if len(of.budgets[first] | of.budgets[second]) > 1:
        return _budgets(of.budgets[first], of.budgets[second])
    return ""


def _few(n: int) -> str:
    return "" if n >= PROVISIONAL else f"{seeds.counted(n)} in common; a test needs {PROVISIONAL}"


def _budgets(ours: frozenset[Any], theirs: frozenset[Any]) -> str:
    """How two budgets differ."""
    for place, name in enumerate(BUDGET):
        mine, other = ({budget[place] for budget in them} for them in (ours, theirs))
        if len(mine | other) > 1:
            said = (" or ".join(UNITS[name].format(v) for v in sorted(x)) for x in (mine, other))
            return "{}, the other {}".format(*said)
    return ""


def _tie(tied: bool, mean: float, size: float) -> str:
    if not tied:
        return ""
    return EQUAL if abs(mean) <= FLOAT_NOISE * size else TIED
