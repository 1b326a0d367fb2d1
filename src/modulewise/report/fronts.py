"""The primary metric against memory or time, with the Pareto front; comparable runs only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from modulewise.report.drawing import LEGEND, axis_label, looks, maybe_log
from modulewise.report.frame import Frame
from modulewise.report.stats import PROVISIONAL

GREY = "#8a8a8a"
AROUND = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
"""Directions from a mark in which its label may stand, the preferred first."""


class Cost(NamedTuple):
    """A cost: its column, what must be equal for two runs to be compared, and how the axis names
    it."""

    column: str
    same: list[str]
    title: str
    units: tuple[tuple[float, str], ...]


MEMORY = Cost(
    "memory",
    ["device", "memory_source", "batch_size"],
    "peak memory while training",
    ((2**30, "GiB"), (2**20, "MiB"), (1024, "KiB")),
)
TIME = Cost(
    "step_seconds",
    ["device", "batch_size"],
    "time of a training step",
    ((1, "s"), (1e-3, "ms"), (1e-6, "µs")),
)


def against_memory(
    runs: pd.DataFrame, frame: Frame, recipes: list[str] | None = None
) -> Figure | None:
    """The metric against peak memory, a mark per recipe and K.

    Args:
        runs: done runs of one data set, network and settings.
        frame: where they are from.
        recipes: those to tell apart, if not all of them; the others are grey dots, and may be on
            the front.
    """
    return _front(runs, runs, frame, recipes, MEMORY)


def against_time(
    runs: pd.DataFrame, frame: Frame, recipes: list[str] | None = None
) -> Figure | None:
    """The metric against the time of a step, a mark per recipe and K; runs that shared their device
    are left out."""
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
) -> Figure | None:
    table, device = points(runs, measured, cost)
    if len(table) < 2:
        return None
    metric = frame.metric(runs["dataset"].iloc[0])
    unit, name = scale(cost, table["cost"])
    x, y = table["cost"].to_numpy(float) / unit, table["value"].to_numpy(float)
    fig = Figure(figsize=(4.6 + LEGEND, 3.4), layout="constrained")
    ax, look = fig.subplots(), looks(frame)
    front = pareto(list(x), [metric.rank(value) for value in y])
    ax.plot(x[front], y[front], drawstyle="steps-post", color=GREY, lw=1, zorder=1)
    names = [
        r
        for r in frame.labels
        if r in set(table["recipe"]) and (recipes is None or r in (frame.baseline, *recipes))
    ]
    if not set(names) - {frame.baseline}:
        return None
    mine = table["recipe"].isin(names)
    ax.plot(x[~mine], y[~mine], ls="", marker="o", ms=2.5, color=GREY, alpha=0.6, zorder=1)
    for recipe in names:
        own, few = table["recipe"] == recipe, table["n"] < PROVISIONAL
        seen, size = look[recipe], 8 if recipe == frame.baseline else 6
        for which, face in ((own & few, "white"), (own & ~few, seen.colour)):
            ax.plot(
                x[which],
                y[which],
                ls="",
                marker=seen.marker or "*",
                color=seen.colour,
                mfc=face,
                ms=size,
            )
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
    fig.legend(handles=handles, loc="outside right upper")
    label_marks(
        fig,
        ax,
        x,
        y,
        [
            (str(k), look[r].colour if r in names else "")
            for r, k in zip(table["recipe"], table["modules"], strict=True)
        ],
    )
    return fig


def scale(cost: Cost, values: Iterable[float]) -> tuple[float, str]:
    """The unit of an axis of costs: how much it is, and its name."""
    most = max(values)
    return next((u for u in cost.units if most >= u[0]), cost.units[-1])


def cost_axis(
    ax: Axes, values: np.ndarray, which: Literal["x", "y"], from_zero: bool = True
) -> None:
    """From zero if so wished, or logarithmic where the costs differ much."""
    if values.max() / values.min() < 8:
        if from_zero:
            ax.set(**{f"{which}lim": (0, None)})
        return
    ax.set(**{f"{which}scale": "log"})
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def label_marks(
    fig: Figure, ax: Axes, x: np.ndarray, y: np.ndarray, labels: list[tuple[str, str]]
) -> None:
    """Small texts, each with its colour or none, beside the marks where they meet no mark and no
    other text; else left out."""
    fig.draw_without_rendering()
    marks = ax.transData.transform(np.column_stack([x, y])) * 72 / fig.dpi  # in points
    taken = [
        (a - 3.5, b - 3.5, a + 3.5, b + 3.5) if labels[n][1] else (a - 1, b - 1, a + 1, b + 1)
        for n, (a, b) in enumerate(marks)
    ]
    for place, ((text, colour), (a, b)) in enumerate(zip(labels, marks, strict=True)):
        width, others = 4.2 * len(text) + 1.5, taken[:place] + taken[place + 1 :]
        for dx, dy in AROUND if colour else ():
            centre = a + dx * (4.5 + width / 2), b + dy * 6.5
            box = (centre[0] - width / 2, centre[1] - 3, centre[0] + width / 2, centre[1] + 3)
            if not any(
                box[0] < o[2] and o[0] < box[2] and box[1] < o[3] and o[1] < box[3] for o in others
            ):
                taken.append(box)
                at: dict[str, Any] = {
                    "textcoords": "offset points",
                    "ha": "center",
                    "va": "center",
                    "fontsize": 7,
                    "color": colour,
                }
                ax.annotate(
                    text, (x[place], y[place]), (centre[0] - a, centre[1] - b), **at
                ).set_in_layout(False)
                break
