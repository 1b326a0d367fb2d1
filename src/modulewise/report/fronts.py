"""The primary metric against memory or time, with the Pareto front; comparable runs only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from modulewise.plots import Nothing
from modulewise.report import hover
from modulewise.report.drawing import HALF, axis_label, looks, maybe_log, place_legend
from modulewise.report.frame import Frame
from modulewise.report.naming import valued
from modulewise.report.placing import Spot, beside
from modulewise.report.stats import PROVISIONAL, SAME

GREY = "#8a8a8a"
TOGETHER, RING = 0.012, 3.5
"""Marks that are closer than this part of the axes' length are rings around one another, this many
points larger each."""


class Cost(NamedTuple):
    """A cost: its column, what must be equal for two runs to be compared, and how the axis names
    it."""

    column: str
    same: list[str]
    title: str
    units: tuple[tuple[float, str], ...]
    unless: str = ""
    """What else a run needs for its cost to count."""


MEMORY = Cost(
    "memory",
    SAME["memory"],
    "peak memory while training",
    ((2**30, "GiB"), (2**20, "MiB"), (1024, "KiB")),
)
TIME = Cost(
    "step_seconds",
    SAME["step_seconds"],
    "time of a training step",
    ((1, "s"), (1e-3, "ms"), (1e-6, "µs")),
    " on a device of their own",
)


def against_memory(runs: pd.DataFrame, frame: Frame, recipes: list[str] | None = None) -> Figure:
    """The metric against peak memory, a mark per recipe and K.

    Args:
        runs: done runs of one data set, network and settings.
        frame: where they are from.
        recipes: those to tell apart, if not all of them; the others are grey dots, and may be on
            the front.

    Raises:
        Nothing: fewer than two recipes and K can be compared.
    """
    return _front(runs, runs, frame, recipes, MEMORY)


def against_time(runs: pd.DataFrame, frame: Frame, recipes: list[str] | None = None) -> Figure:
    """The metric against the time of a step, a mark per recipe and K; runs that shared their device
    are left out.

    Raises:
        Nothing: as above.
    """
    return _front(runs, runs[runs["exclusive"]], frame, recipes, TIME)


def pareto(costs: Sequence[float], ranks: Sequence[float]) -> list[int]:
    """The points that no other beats: none has less of one and not more of the other. From the
    cheapest on.

    Args:
        costs: one per point.
        ranks: of the metric's values (`PrimaryMetric.rank`): less is better.

    Example:
        >>> pareto([1, 2, 3, 3], [9, 9, 5, 7])
        [0, 2]
    """
    front: list[int] = []
    for place in sorted(range(len(costs)), key=lambda i: (costs[i], ranks[i])):
        if not front or ranks[place] < ranks[front[-1]]:
            front.append(place)
    return front


def points(runs: pd.DataFrame, measured: pd.DataFrame, cost: Cost) -> tuple[pd.DataFrame, str]:
    """Recipe, K, mean value, median cost and n of what can be compared, and the device.

    Args:
        runs: done runs; their values count wherever they ran.
        measured: those whose cost may count; of these only the largest group that is equal in
            `cost.same`.
        cost: memory or time.
    """
    measured = measured.dropna(subset=[cost.column, "value", *cost.same])
    if measured.empty:
        return pd.DataFrame(), ""
    sizes = measured.groupby(cost.same).size()
    group = sizes.index[int(np.argmax(sizes.to_numpy()))]
    measured = measured[(measured[cost.same] == list(group)).all(axis=1)]
    keys = ["recipe", "modules"]
    table = measured.groupby(keys, sort=False)[cost.column].median().rename("cost").reset_index()
    values = runs.dropna(subset=["value"]).groupby(keys)["value"].agg(["mean", "size"])
    table = table.join(values.rename(columns={"mean": "value", "size": "n"}), on=keys)
    return table, str(group[0])


def _front(
    runs: pd.DataFrame, measured: pd.DataFrame, frame: Frame, recipes: list[str] | None, cost: Cost
) -> Figure:
    table, device = points(runs, measured, cost)
    names = [
        r
        for r in frame.labels
        if len(table)
        and r in set(table["recipe"])
        and (recipes is None or r in (frame.baseline, *recipes))
    ]
    if len(table) < 2 or not set(names) - {frame.baseline}:
        raise Nothing(f"no two recipes or K have a {cost.title} measured alike{cost.unless}")
    metric, look = frame.metric(runs["dataset"].iloc[0]), looks(frame)
    unit, name = scale(cost, table["cost"])
    x, y = table["cost"].to_numpy(float) / unit, table["value"].to_numpy(float)
    fig = Figure(figsize=(HALF, 3.6), layout="constrained")
    ax = fig.subplots()
    front = pareto(list(x), [metric.rank(value) for value in y])
    ax.plot(x[front], y[front], drawstyle="steps-post", color=GREY, lw=1, zorder=1)
    mine = table["recipe"].isin(names)
    ax.plot(x[~mine], y[~mine], ls="", marker="o", ms=2.5, color=GREY, alpha=0.6, zorder=1)
    rings, spots = np.zeros(len(table)), []
    rings[mine] = RING * together(x[mine], y[mine])
    alike: dict[tuple[str, bool, float], dict[int, str]] = {}
    for n, row in enumerate(table.to_dict("records")):
        recipe, few = row["recipe"], row["n"] < PROVISIONAL
        if recipe not in names:
            spots.append(Spot(x[n], y[n], 2.5))
            continue
        size = (8 if recipe == frame.baseline else 6) + float(rings[n])
        spots.append(Spot(x[n], y[n], size + 1, str(row["modules"]), look[recipe].ink))
        said = f"{look[recipe].label}, K = {row['modules']}: {valued(metric, y[n])}"
        said += f", {cost.title} {x[n]:.3g} {name}, n = {row['n']}"
        alike.setdefault((recipe, few, size), {})[n] = said
    for (recipe, few, size), marks in alike.items():
        seen, which = look[recipe], list(marks)
        (drawn,) = ax.plot(
            x[which],
            y[which],
            ls="",
            marker=seen.marker or "*",
            color=seen.colour,
            mfc="white" if few else seen.colour,
            ms=size,
            zorder=3 - 0.01 * size,
        )
        hover.tell(drawn, *marks.values())
    ax.margins(0.09)
    cost_axis(ax, x, "x")
    maybe_log(ax, table["value"], metric, factor=2.5)
    missing = runs.dropna(subset=["value"]).groupby(["recipe", "modules"]).ngroups - len(table)
    left = f"; {missing} more could not be compared" if missing else ""
    ax.set_xlabel(f"{cost.title}, {name}\n({device}{left})")
    ax.set_ylabel(axis_label(metric))
    handles = [
        Line2D(
            [], [], ls="", marker=look[r].marker or "*", color=look[r].colour, label=look[r].label
        )
        for r in names
    ]
    if not mine.all():
        handles.append(Line2D([], [], ls="", marker="o", ms=2.5, color=GREY, label="other recipes"))
    handles.append(Line2D([], [], color=GREY, lw=1, label="Pareto front"))
    place_legend(fig, handles)
    steps = zip(np.repeat(x[front], 2)[1:], np.repeat(y[front], 2)[:-1], strict=True)
    beside(fig, ax, spots, list(steps))
    return fig


def together(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Number of later marks that stand where each one does.

    Args:
        x: of the marks, whose extent is that of the axes.
        y: likewise.

    Example:
        >>> together(np.array([1.0, 1.0, 5.0]), np.array([2.0, 2.0, 0.0]))
        array([1, 0, 0])
    """
    near = np.ones((len(x), len(x)), bool)
    for v in (x, y):
        near &= np.abs(v[:, None] - v) <= TOGETHER * (np.ptp(v) or 1.0)
    return np.asarray(np.triu(near, 1).sum(1))


def scale(cost: Cost, values: Iterable[float]) -> tuple[float, str]:
    """The unit of an axis of costs: how much it is, and its name."""
    most = max(values)
    return next((u for u in cost.units if most >= u[0]), cost.units[-1])


def cost_axis(
    ax: Axes, values: np.ndarray, which: Literal["x", "y"], from_zero: bool = True
) -> None:
    """From zero if so wished and little room is lost; logarithmic where the costs differ much."""
    if values.max() / values.min() < 8:
        if from_zero and values.min() < values.max() / 2:
            ax.set(**{f"{which}lim": (0, None)})
        return
    ax.set(**{f"{which}scale": "log"})
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())
