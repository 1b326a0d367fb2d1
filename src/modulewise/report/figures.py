"""Figures of one data set and network: the primary metric against K, over epochs, over depth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from modulewise.report.drawing import (
    Look,
    axis_label,
    from_zero,
    legend,
    looks,
    maybe_log,
    panels,
)
from modulewise.report.frame import Frame
from modulewise.report.stats import PROVISIONAL, mean

MOST_SEEDS = 10
"""Seeds of a recipe and K that have a line each; more are a band."""
MOST_LINES = 8
"""Recipes in one panel, the baseline counted; sweeps with more have several figures."""


def parts(runs: pd.DataFrame, frame: Frame) -> list[list[str]]:
    """The recipes that share a figure: all of them, or few enough for a panel, those of one method
    together.

    Args:
        runs: done runs of one data set, network and settings.
        frame: where they are from.

    Returns:
        Recipes in the sweep's order, without the baseline.
    """
    methods = dict(zip(runs["recipe"], runs["method"], strict=True))
    own, most = [r for r in frame.labels if r in methods and r != frame.baseline], MOST_LINES - 1
    if len(own) <= most:
        return [own]
    out: list[list[str]] = [[]]
    for method in dict.fromkeys(methods[r] for r in own):
        family = [r for r in own if methods[r] == method]
        count = -(-len(family) // most)
        for n in range(count):
            part = family[n * len(family) // count : (n + 1) * len(family) // count]
            if len(out[-1]) + len(part) > most:
                out.append([])
            out[-1] += part
    return out


def against_modules(
    runs: pd.DataFrame, frame: Frame, recipes: list[str] | None = None
) -> Figure | None:
    """The metric against K: mean with its 95 % t-interval, single seeds where there are too few;
    the baseline as a line.

    Args:
        runs: done runs of one data set, network and settings.
        frame: where they are from.
        recipes: those to show, if not all of them.
    """
    runs = _chosen(runs, frame, recipes)
    own = runs[runs["recipe"] != frame.baseline].dropna(subset=["value"])
    if own.empty:
        return None
    (fig, (ax,)), look = panels(1, axis_label(frame.metric(own["dataset"].iloc[0]))), looks(frame)
    names = [r for r in frame.labels if r in set(own["recipe"])]
    for place, name in enumerate(names):
        shift = 2 ** (0.07 * (place - (len(names) - 1) / 2))
        mine = own[own["recipe"] == name]
        points = [
            (k * shift, mine.loc[mine["modules"] == k, "value"])
            for k in sorted(set(mine["modules"]))
        ]
        ax.plot(
            [x for x, _ in points],
            [values.mean() for _, values in points],
            color=look[name].colour,
            ls=look[name].dash,
            lw=1,
        )
        _points(ax, points, look[name])
    base = runs.loc[runs["recipe"] == frame.baseline, "value"].dropna()
    _level(ax, base, look.get(frame.baseline or ""))
    ks = sorted(set(own["modules"]))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(ks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
    ax.set_xlim(min(ks) / 1.5, max(ks) * 1.5)
    from_zero(ax, runs["value"])
    ax.set_xlabel("number of modules K")
    legend(fig, look, [*([frame.baseline] if frame.baseline and len(base) else []), *names])
    return fig


def learning_curves(
    runs: pd.DataFrame, frame: Frame, recipes: list[str] | None = None
) -> Figure | None:
    """The metric after every epoch, a panel per K: the mean over seeds thick, every seed thin; the
    baseline in every panel."""
    curves = frame.curves.merge(
        _chosen(runs, frame, recipes)[["path", "dataset", "recipe", "modules", "seed"]], on="path"
    )
    curves = curves[np.isfinite(curves["value"])]

    def draw(ax: Axes, shown: pd.DataFrame, look: Look) -> None:
        _seeds(ax, shown, "epoch", look)
        full = shown.groupby("epoch")["value"].agg(["mean", "count"])
        full = full[full["count"] == shown["seed"].nunique()]
        ax.plot(
            full.index,
            full["mean"],
            color=look.colour,
            ls=look.dash,
            marker=look.marker,
            markevery=0.2,
            ms=3.5,
        )

    fig = _by_modules(curves, frame, draw)
    for ax in fig.axes if fig else []:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_xlabel("epoch")
        maybe_log(ax, curves["value"], frame.metric(curves["dataset"].iloc[0]))
    return fig


def over_depth(runs: pd.DataFrame, frame: Frame, recipes: list[str] | None = None) -> Figure | None:
    """The metric of every module's own head, a panel per K: mean over seeds; the baseline as a
    line."""
    depth = frame.depth.merge(
        _chosen(runs, frame, recipes)[["path", "dataset", "recipe", "modules", "seed"]], on="path"
    )
    cut = depth["modules"] > 1
    if not cut.any():
        return None

    def draw(ax: Axes, shown: pd.DataFrame, look: Look) -> None:
        if shown["modules"].iloc[0] == 1:
            _level(ax, shown["value"], look)
            return
        _seeds(ax, shown, "module", look)
        centre = shown.groupby("module")["value"].mean()
        ax.plot(centre.index, centre, color=look.colour, ls=look.dash, marker=look.marker, ms=3.5)

    fig = _by_modules(depth[cut | (depth["recipe"] == frame.baseline)], frame, draw)
    for ax in fig.axes if fig else []:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("module, from the input on")
        from_zero(ax, depth["value"])
    return fig


def _chosen(runs: pd.DataFrame, frame: Frame, recipes: list[str] | None) -> pd.DataFrame:
    """The runs of some recipes and the baseline."""
    return runs if recipes is None else runs[runs["recipe"].isin([*recipes, frame.baseline])]


Draw = Callable[[Axes, pd.DataFrame, Look], None]


def _by_modules(data: pd.DataFrame, frame: Frame, draw: Draw) -> Figure | None:
    """A panel per K with every recipe drawn in it, the baseline's data in each; None without
    data."""
    own, base = data[data["recipe"] != frame.baseline], data[data["recipe"] == frame.baseline]
    ks = sorted(own["modules"].unique()) or ([1] if len(base) else [])
    if not ks:
        return None
    (fig, axes), look = (
        panels(len(ks), axis_label(frame.metric(data["dataset"].iloc[0]))),
        looks(frame),
    )
    of = dict(list(own.groupby(["recipe", "modules"])))
    recipes = [r for r in frame.labels if r in set(own["recipe"].unique())]
    shown_baseline = [frame.baseline] if frame.baseline and len(base) else []
    for ax, k in zip(axes, ks, strict=True):
        ax.set_title(f"K = {k}")
        for name in [*shown_baseline, *recipes]:
            shown = base if name == frame.baseline else of.get((name, k), own[:0])
            if len(shown):
                draw(ax, shown, look[name])
    legend(fig, look, [*shown_baseline, *recipes])
    return fig


def seeds_shown(runs: pd.DataFrame) -> str:
    """How the figures of some runs show single seeds, for their captions."""
    numbers = runs.groupby(["recipe", "modules"]).size()
    if len(numbers) == 0 or numbers.max() <= MOST_SEEDS:
        return "every seed thin"
    band = "a band from the lowest to the highest seed"
    return (
        band if numbers.min() > MOST_SEEDS else f"every seed thin, of more than {MOST_SEEDS} {band}"
    )


def _seeds(ax: Axes, shown: pd.DataFrame, x: str, look: Look) -> None:
    if shown["seed"].nunique() > MOST_SEEDS:
        ends = shown.groupby(x)["value"].agg(["min", "max"])
        ax.fill_between(ends.index, ends["min"], ends["max"], color=look.colour, alpha=0.12, lw=0)
        return
    for _, seed in shown.groupby("seed"):
        ax.plot(seed[x], seed["value"], color=look.colour, lw=0.5, alpha=0.45)


def _points(ax: Axes, points: list[tuple[float, pd.Series]], look: Look) -> None:
    """Means with their intervals, or every seed by itself where there are too few."""
    found = [(x, values, mean(values)) for x, values in points]
    few = [(x, v) for x, values, m in found if m.n < PROVISIONAL for v in values]
    many = [(x, m) for x, _, m in found if m.n >= PROVISIONAL]
    if few:
        x, y = zip(*few, strict=True)
        ax.plot(x, y, ls="", marker=look.marker, color=look.colour, mfc="white", ms=4)
    if many:
        ax.errorbar(
            [x for x, _ in many],
            [m.mean for _, m in many],
            [[m.mean - m.low for _, m in many], [m.high - m.mean for _, m in many]],
            color=look.colour,
            marker=look.marker,
            ls="",
            capsize=2.5,
            lw=1,
        )


def _level(ax: Axes, values: pd.Series, look: Look | None) -> None:
    """The baseline as a horizontal line: its mean with the interval as a band, or every seed dotted
    if there are too few."""
    if look is None or values.empty:
        return
    m = mean(values)
    ax.axhline(m.mean, color=look.colour, lw=1)
    if m.n >= PROVISIONAL:
        ax.axhspan(m.low, m.high, color=look.colour, alpha=0.1, lw=0)
    else:
        for value in values:
            ax.axhline(value, color=look.colour, lw=0.6, ls=":")
