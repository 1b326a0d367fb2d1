"""Angles between the modules' gradients and backpropagation's: over epochs, as runs recorded them,
and what their figures share."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from modulewise.plots import Nothing
from modulewise.report import drawing, hover
from modulewise.report.frame import Frame

LABEL = "angle to backprop (degrees)"
SHADES = "viridis", 0.05, 0.9
"""Colours of modules, from the input on: a map, and the part of it that shows on white."""
GREY = "#888888"
NAMED = 6
"""Modules that a legend has one by one, if all panels have the same."""
RUN = ["path", "dataset", "network", "recipe", "modules", "seed"]


def recorded(frame: Frame) -> pd.DataFrame:
    """What the runs that count recorded: a row per run, epoch (0: before the first) and module."""
    if frame.angles.empty:
        return frame.angles
    return frame.angles.merge(frame.done[RUN], on="path")[
        [*RUN, "epoch", "module", "angle", "ratio"]
    ]


def over_epochs(runs: pd.DataFrame, frame: Frame, recipes: list[str]) -> Figure:
    """The angle over epochs, a panel per recipe and K and a line per module: the mean over seeds,
    every seed thin.

    Args:
        runs: done runs of one data set, network and settings.
        frame: where they are from.
        recipes: those to show; the baseline is not among them.

    Raises:
        Nothing: no run of them recorded an angle.
    """
    found = recorded(frame)
    found = found[found["path"].isin(runs["path"]) & found["recipe"].isin(recipes)]
    if found.empty:
        raise Nothing("no run but the baseline recorded the angles of its gradients")
    of = dict(list(found.groupby(["recipe", "modules"])))
    order = [(r, k) for r in frame.labels for k in sorted(set(found["modules"])) if (r, k) in of]
    fig, axes = drawing.panels(len(order), LABEL)
    for ax, (recipe, k) in zip(axes, order, strict=True):
        mine = of[recipe, k]
        ax.set_title(f"{frame.labels[recipe]}, K = {k}, {_seeds(mine['seed'].nunique())}")
        for module in sorted(set(mine["module"])):
            _line(ax, mine[mine["module"] == module], module, k)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_xlabel("epoch")
    degrees(axes, found["angle"])
    orthogonal = Line2D([], [], color=GREY, ls="--", lw=0.9, label="orthogonal")
    drawing.place_legend(fig, [*_modules({k for _, k in order}), orthogonal])
    return fig


def _modules(ks: set[int]) -> list[Line2D]:
    """How modules are drawn: all of them if they are few in every panel, else the ends."""
    k = max(ks)
    if len(ks) == 1 and k <= NAMED:
        names = {m: f"module {m}" for m in range(1, k + 1)}
    else:
        names = {1: "first module", k: "last module"}
    return [
        Line2D([], [], color=colour(m, k), marker="o", ms=2.5, label=label)
        for m, label in names.items()
    ]


def _line(ax: Axes, values: pd.DataFrame, module: int, k: int) -> None:
    shade = colour(module, k)
    if values["seed"].nunique() > 1:
        for _, seed in values.groupby("seed"):
            ax.plot(seed["epoch"], seed["angle"], color=shade, lw=0.5, alpha=0.45)
    mean = values.groupby("epoch")[["angle", "ratio"]].mean()
    (line,) = ax.plot(mean.index, mean["angle"], color=shade, marker="o", ms=2.5)
    hover.tell(
        line,
        *(
            f"module {module} of {k}, {when(int(epoch))}: {angle:.1f}°, length {ratio:.3g}×"
            for epoch, angle, ratio in mean.itertuples()
        ),
    )


def when(epoch: int) -> str:
    """An epoch in words.

    Example:
        >>> when(0), when(3)
        ('before training', 'epoch 3')
    """
    return f"epoch {epoch}" if epoch else "before training"


def _seeds(n: int) -> str:
    return f"{n} seeds" if n > 1 else "1 seed"


def degrees(axes: list[Axes], values: pd.Series) -> None:
    """Axes of angles: from 0, where backpropagation is, in steps of 30, with a line at 90."""
    top = max(95.0, float(np.ceil(values.max())) + 3)
    for ax in axes:
        ax.axhline(90, color=GREY, ls="--", lw=0.9, zorder=1)
        ax.yaxis.set_major_locator(MultipleLocator(30))
        ax.set_ylim(-2, top)


def colour(module: int, k: int) -> str:
    """Of a module of K, counted from 1, by its place between the first and the last."""
    name, first, last = SHADES
    place = (module - 1) / (k - 1) if k > 1 else 0.0
    return to_hex(colormaps[name](first + (last - first) * place))
