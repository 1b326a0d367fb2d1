"""Recipes over many tasks: probability of improvement over the baseline, and performance profiles.

A task is a data set, a network, its settings and K, with enough seeds of the recipe and of the
baseline. Intervals are by a stratified bootstrap: the seeds of every cell are drawn anew, cells
never mix, and the baseline that several tasks share is drawn once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from modulewise.plots import Nothing
from modulewise.report.drawing import legend, looks, panels
from modulewise.report.frame import Frame
from modulewise.report.naming import better
from modulewise.report.stats import PROVISIONAL, advantages
from modulewise.report.tables import HELP, Item, K, Table, beside_ks
from modulewise.runs.result import PrimaryMetric

LEAST_TASKS = 3
"""Over fewer tasks nothing is said."""
RESAMPLES = 2000
STEPS = 120
"""Points of a profile."""
GridPoint = tuple[str, str, str]
"""Data set, network, settings."""


class Tasks(NamedTuple):
    """Values of one metric by seed that have their baseline's beside them: recipe -> (place, K) ->
    values; place -> the baseline's values."""

    own: dict[str, dict[tuple[GridPoint, int], np.ndarray]]
    base: dict[GridPoint, np.ndarray]
    metric: PrimaryMetric


def tasks(frame: Frame, metric: PrimaryMetric) -> Tasks:
    """The tasks of every recipe: cells with enough finished seeds, the baseline's too.

    Args:
        frame: the runs.
        metric: data sets of others are left out.
    """
    done = frame.done.dropna(subset=["value"])
    equal = [d for d in done["dataset"].unique() if frame.metric(d) == metric]
    done = done[done["dataset"].isin(equal)]
    cells = {
        k: g["value"].to_numpy(float)
        for k, g in done.groupby(
            ["dataset", "network", "settings", "recipe", "modules"], sort=False
        )
    }
    enough: dict[Any, np.ndarray] = {
        k: values for k, values in cells.items() if len(values) >= PROVISIONAL
    }
    base = {k[:3]: values for k, values in enough.items() if k[3] == frame.baseline}
    own: dict[str, dict[tuple[GridPoint, int], np.ndarray]] = {
        r: {} for r in frame.labels if r != frame.baseline
    }
    for (*place, recipe, modules), values in enough.items():
        if recipe in own and tuple(place) in base:
            own[recipe][tuple(place), modules] = values
    return Tasks(own, base, metric)


def why_not(found: Tasks, frame: Frame) -> str:
    """Why there is nothing to say over many tasks; empty if there is."""
    if frame.baseline is None:
        return "sweep has no baseline"
    most = max((len(t) for t in found.own.values()), default=0)
    if most >= LEAST_TASKS:
        return ""
    return (
        f"needs {LEAST_TASKS} tasks (data set × network × K) in each of which the recipe and "
        f"{frame.labels[frame.baseline]} have "
        f"{PROVISIONAL} finished seeds; no recipe has {f'more than {most}' if most else 'any'}"
    )


def improvement(found: Tasks) -> pd.DataFrame:
    """Per recipe the probability that a run of it is better than a run of the baseline on the same
    task, averaged over tasks.

    Equal values count half.
    """
    rank: Callable[..., Any] = found.metric.rank
    rows = []
    for recipe, mine in found.own.items():
        if len(mine) < LEAST_TASKS:
            continue
        places = list(dict.fromkeys(place for place, _ in mine))
        pairs = [(n, len(mine) + places.index(place)) for n, (place, _) in enumerate(mine)]

        def probability(
            *samples: np.ndarray, axis: int = -1, pairs: list[tuple[int, int]] = pairs
        ) -> np.ndarray:
            return sum(_first(rank(samples[a]), rank(samples[b])) for a, b in pairs) / len(pairs)

        value, low, high = _bootstrap(
            [*mine.values(), *(found.base[p] for p in places)], probability
        )
        rows.append(
            {
                "recipe": recipe,
                "tasks": len(mine),
                "probability": float(value),
                "low": float(low),
                "high": float(high),
            }
        )
    return pd.DataFrame(rows)


def profile(
    found: Tasks, recipe: str, over: Sequence[tuple[GridPoint, int]], at: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of a recipe's runs whose value relative to the baseline's mean is some number or
    better; every task counts the same.

    Args:
        found: the tasks.
        recipe: one that has all of `over`.
        over: the tasks to average over.
        at: relative values.

    Returns:
        The shares, and their 95 % intervals' lower and upper ends, for each of `at`.
    """
    places = list(dict.fromkeys(place for place, _ in over))
    rank: Callable[..., Any] = found.metric.rank

    def shares(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        out = []
        for n, (place, _) in enumerate(over):
            scale = samples[len(over) + places.index(place)].mean(axis=-1, keepdims=True)
            out.append(at_most(rank(samples[n] / scale), rank(at)))
        return np.mean(out, axis=0)

    return _bootstrap(
        [*(found.own[recipe][t] for t in over), *(found.base[p] for p in places)], shares
    )


def at_most(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Share of the values along the last axis that are no larger than each limit.

    Args:
        values: (..., values).
        limits: (limits,), in any order.

    Returns:
        Shares, (limits, ...).
    """
    order, count = np.argsort(limits), len(limits) + 1
    place = np.searchsorted(limits[order], values).reshape(-1, values.shape[-1])
    place += count * np.arange(len(place))[:, None]
    found = np.bincount(place.ravel(), minlength=count * len(place)).reshape(-1, count)
    out = np.empty((len(limits), len(place)))
    out[order] = found.cumsum(axis=1).T[:-1] / values.shape[-1]
    return out.reshape(len(limits), *values.shape[:-1])


def _first(a: np.ndarray, b: np.ndarray) -> Any:
    a, b = a[..., :, None], b[..., None, :]
    return ((a < b) + (a == b) / 2).mean(axis=(-2, -1))


def _bootstrap(
    cells: Sequence[np.ndarray], statistic: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A statistic of some cells, with the ends of its 95 % percentile interval."""
    made = stats.bootstrap(
        cells,
        statistic,
        paired=False,
        vectorized=True,
        axis=-1,
        n_resamples=RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(0),
    )
    return (
        statistic(*cells),
        np.asarray(made.confidence_interval.low),
        np.asarray(made.confidence_interval.high),
    )


def common(found: Tasks, recipes: list[str]) -> tuple[list[str], list[tuple[GridPoint, int]]]:
    """The recipes that have enough tasks, and the tasks they all have."""
    names = [r for r in recipes if len(found.own.get(r, {})) >= LEAST_TASKS]
    return names, [
        t for t in found.own[names[0]] if all(t in found.own[r] for r in names)
    ] if names else []


def performance_profiles(found: Tasks, frame: Frame, recipes: list[str]) -> Figure:
    """The profiles of some recipes over the tasks they have in common.

    Raises:
        Nothing: these are too few, or a baseline's mean is not above zero, so that nothing is a
            multiple of it.
    """
    names, shared = common(found, recipes)
    if len(shared) < LEAST_TASKS:
        raise Nothing(f"the recipes have fewer than {LEAST_TASKS} tasks in common")
    if any(found.base[t[0]].mean() <= 0 for t in shared):
        raise Nothing("the baseline's mean is zero on some task, and nothing is a multiple of it")
    scores = [found.own[r][t] / found.base[t[0]].mean() for r in names for t in shared]
    at = np.linspace(min(s.min() for s in scores), max(s.max() for s in scores), STEPS)
    (fig, (ax,)), look = panels(1, "share of runs"), looks(frame)
    for n, recipe in enumerate(names):
        shares, low, high = profile(found, recipe, shared, at)
        ax.fill_between(at, low, high, color=look[recipe].colour, alpha=0.12, lw=0)
        ax.plot(
            at,
            shares,
            color=look[recipe].colour,
            ls=look[recipe].dash,
            marker=look[recipe].marker,
            markevery=(3 * n, 25),
            ms=3.5,
        )
    ax.axvline(1, color="black", lw=0.8)
    label = found.metric.label
    ax.set_xlabel(f"{label} / mean {label} of {frame.labels[frame.baseline or '']}")
    ax.set_ylim(0, 1.02)
    legend(fig, look, names)
    return fig


def beside(found: Tasks, frame: Frame, recipe: str) -> pd.DataFrame:
    """K, horizon and helpers of a recipe, a row per task."""
    done = frame.done[frame.done["recipe"] == recipe]
    of_task = dict(list(done.groupby(["dataset", "network", "settings", "modules"])))
    return pd.DataFrame(
        [{"modules": k} | advantages(of_task[*place, k]) for place, k in found.own[recipe]]
    )


def ranges(rows: pd.DataFrame, found: Tasks, frame: Frame) -> pd.DataFrame:
    """The rows of `improvement`, each with the least and the most of what stands `beside` it."""
    facts = [beside(found, frame, recipe) for recipe in rows["recipe"]]
    ends = [
        {f"{name}_{end}": getattr(f[name], end)() for name in f for end in ("min", "max")}
        for f in facts
    ]
    return rows.join(pd.DataFrame(ends, index=rows.index))


def show(rows: pd.DataFrame, found: Tasks, frame: Frame) -> Table:
    """The probabilities of improvement as people read them."""
    baseline = frame.labels[frame.baseline or ""]
    table = Table(
        [
            ("Recipe", "l"),
            K,
            ("Tasks", "r"),
            (f"P({better(found.metric)} than {baseline}) [95\u00a0%]", "r"),
            *HELP,
        ],
        [],
    )
    for _, row in rows.iterrows():
        text = f"{row['probability']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        k, *help_ = beside_ks(beside(found, frame, row["recipe"]))
        label = Item(frame.labels[row["recipe"]])
        table.rows.append([label, k, Item(str(row["tasks"])), Item(text), *help_])
    return table
