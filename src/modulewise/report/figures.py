"""Figures of one data set and network: the primary metric against K, over epochs, over depth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from modulewise.plots import Nothing
from modulewise.report import hover
from modulewise.report.drawing import (
    Look,
    axis_label,
    from_zero,
    is_wide,
    legend,
    log_axis,
    looks,
    maybe_log,
    panels,
)
from modulewise.report.frame import Frame
from modulewise.report.naming import digits, valued
from modulewise.report.stats import PROVISIONAL, Mean, mean
from modulewise.runs.result import PrimaryMetric

MOST_SEEDS = 10
"""Seeds of a recipe and K that have a line each; more are a band."""
MOST_LINES = 8
"""Recipes in one panel, the baseline counted; sweeps with more have several figures."""
MARKS = 6
"""Marks on a learning curve."""
DODGE, SHARE = 0.09, 0.7
"""Distance of two recipes at one K, in doublings, and the most of the distance between two K that
all of them take."""


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


def against_modules(runs: pd.DataFrame, frame: Frame, recipes: list[str] | None = None) -> Figure:
    """The metric against K: mean with its 95 % t-interval, single seeds where there are too few;
    the baseline as a line.

    Args:
        runs: done runs of one data set, network and settings.
        frame: where they are from.
        recipes: those to show, if not all of them.

    Raises:
        Nothing: no recipe but the baseline has a value.
    """
    runs = _chosen(runs, frame, recipes)
    own = runs[runs["recipe"] != frame.baseline].dropna(subset=["value"])
    if own.empty:
        raise Nothing("no recipe beside the baseline has a value")
    metric = frame.metric(own["dataset"].iloc[0])
    (fig, (ax,)), look = panels(1, axis_label(metric)), looks(frame)
    names = [r for r in frame.labels if r in set(own["recipe"])]
    ks = sorted(set(own["modules"]))
    step = _dodge(ks, len(names))
    for place, name in enumerate(names):
        shift = 2 ** (step * (place - (len(names) - 1) / 2))
        mine = own[own["recipe"] == name]
        values = {k: mine.loc[mine["modules"] == k, "value"] for k in sorted(set(mine["modules"]))}
        ax.plot(
            [k * shift for k in values],
            [v.mean() for v in values.values()],
            color=look[name].colour,
            ls=look[name].dash,
            lw=1,
        )
        _points(ax, values, shift, look[name], metric)
    base = runs.loc[runs["recipe"] == frame.baseline, "value"].dropna()
    _level(ax, base, look.get(frame.baseline or ""), metric)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(ks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
    ax.grid(False, axis="x")
    edge = 2 ** (0.25 + step * len(names) / 2)
    ax.set_xlim(min(ks) / edge, max(ks) * edge)
    from_zero(ax, runs["value"])
    ax.set_xlabel("number of modules K")
    legend(fig, look, [*([frame.baseline] if frame.baseline and len(base) else []), *names])
    return fig


def _dodge(ks: list[int], recipes: int) -> float:
    """How far two recipes stand apart at one K, in doublings: so little that those of two K do not
    mix."""
    least = float(np.diff(np.log2(ks)).min()) if len(ks) > 1 else 1.0
    return min(DODGE, SHARE * least / max(1, recipes))


def learning_curves(runs: pd.DataFrame, frame: Frame, recipes: list[str] | None = None) -> Figure:
    """The metric after every epoch, a panel per K: the mean over seeds thick, every seed thin; the
    baseline in every panel.

    Raises:
        Nothing: no run has a curve.
    """
    curves = _of_each(frame.curves, _chosen(runs, frame, recipes))
    curves = curves[np.isfinite(curves["value"])]
    if curves.empty:
        raise Nothing("no run recorded it after every epoch")
    metric = frame.metric(curves["dataset"].iloc[0])
    offsets = {name: n for n, name in enumerate(frame.labels)}

    def draw(ax: Axes, shown: pd.DataFrame, look: Look) -> None:
        _seeds(ax, shown, "epoch", look)
        full = shown.groupby("epoch")["value"].agg(["mean", "count"])
        full = full[full["count"] == shown["seed"].nunique()]
        every = -(-len(full) // MARKS) or 1
        first = offsets[shown["recipe"].iloc[0]] % every
        (line,) = ax.plot(
            full.index,
            full["mean"],
            color=look.colour,
            ls=look.dash,
            marker=look.marker,
            markevery=(first, every),
            ms=3.5,
        )
        marked = full["mean"].iloc[first::every] if look.marker else full["mean"].iloc[-1:]
        hover.tell(line, *(_said(shown, look, metric, v, f"epoch {e}") for e, v in marked.items()))

    fig = _by_modules(curves, frame, draw)
    for ax in fig.axes:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_xlabel("epoch")
        maybe_log(ax, curves["value"], metric)
    return fig


def over_depth(runs: pd.DataFrame, frame: Frame, recipes: list[str] | None = None) -> Figure:
    """The metric of every module's own head, a panel per K, on the scale of the learning curves:
    mean over seeds; the baseline as a line.

    Raises:
        Nothing: no network is cut, or no module but the last has a head that predicts.
    """
    runs = _chosen(runs, frame, recipes)
    depth = _of_each(frame.depth, runs)
    cut = depth["modules"] > 1
    if not cut.any():
        raise Nothing("no run that cuts the network has a result of its modules' heads")
    metric = frame.metric(depth["dataset"].iloc[0])

    def draw(ax: Axes, shown: pd.DataFrame, look: Look) -> None:
        if shown["modules"].iloc[0] == 1:
            _level(ax, shown["value"], look, metric)
            return
        _seeds(ax, shown, "module", look)
        centre = shown.groupby("module")["value"].mean()
        (line,) = ax.plot(
            centre.index, centre, color=look.colour, ls=look.dash, marker=look.marker, ms=3.5
        )
        hover.tell(line, *(_said(shown, look, metric, v, f"module {m}") for m, v in centre.items()))

    fig = _by_modules(depth[cut | (depth["recipe"] == frame.baseline)], frame, draw)
    curves, values = _of_each(frame.curves, runs)["value"], depth["value"]
    logarithmic = values.min() > 0 and is_wide(curves if len(curves) else values, metric)
    for ax in fig.axes:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("module, from the input on")
        if logarithmic:
            log_axis(ax, values)
        else:
            from_zero(ax, values)
    return fig


def _of_each(points: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """What was recorded of some runs, with what they are."""
    return points.merge(runs[["path", "dataset", "recipe", "modules", "seed"]], on="path")


def _said(shown: pd.DataFrame, look: Look, metric: PrimaryMetric, value: float, at: str) -> str:
    """What a mark on a curve says."""
    return f"{look.label}, K = {shown['modules'].iloc[0]}, {at}: {valued(metric, value)}"


def _chosen(runs: pd.DataFrame, frame: Frame, recipes: list[str] | None) -> pd.DataFrame:
    """The runs of some recipes and the baseline."""
    return runs if recipes is None else runs[runs["recipe"].isin([*recipes, frame.baseline])]


Draw = Callable[[Axes, pd.DataFrame, Look], None]


def _by_modules(data: pd.DataFrame, frame: Frame, draw: Draw) -> Figure:
    """A panel per K with every recipe drawn in it, the baseline's data in each."""
    own, base = data[data["recipe"] != frame.baseline], data[data["recipe"] == frame.baseline]
    ks = sorted(own["modules"].unique()) or [1]
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
    for number, seed in shown.groupby("seed"):
        (line,) = ax.plot(seed[x], seed["value"], color=look.colour, lw=0.5, alpha=0.45)
        hover.tell(line, f"{look.label}, K = {shown['modules'].iloc[0]}, seed {number}")


def _points(
    ax: Axes, values: dict[int, pd.Series], shift: float, look: Look, metric: PrimaryMetric
) -> None:
    """Means by K with their intervals, or every seed by itself where there are too few."""
    found = {k: mean(v) for k, v in values.items()}
    few = [(k, v) for k, m in found.items() if m.n < PROVISIONAL for v in values[k]]
    many = {k: m for k, m in found.items() if m.n >= PROVISIONAL}
    said = f"{look.label}, K = {{}}: {{}}".format
    if few:
        x, y = [k * shift for k, _ in few], [v for _, v in few]
        (seeds,) = ax.plot(x, y, ls="", marker=look.marker, color=look.colour, mfc="white", ms=4)
        hover.tell(seeds, *(said(k, valued(metric, v)) for k, v in few))
    if many:
        bars = ax.errorbar(
            [k * shift for k in many],
            [m.mean for m in many.values()],
            [[m.mean - m.low for m in many.values()], [m.high - m.mean for m in many.values()]],
            color=look.colour,
            marker=look.marker,
            ls="",
            capsize=2.5,
            lw=1,
        )
        texts = (said(k, _interval(metric, m)) for k, m in many.items())
        hover.tell(bars[0], *texts)


def _interval(metric: PrimaryMetric, found: Mean) -> str:
    decimals = digits(metric)
    ends = f"[{found.low:.{decimals}f}, {found.high:.{decimals}f}]"
    return f"{valued(metric, found.mean)} {ends}, {found.n} seeds"


def _level(ax: Axes, values: pd.Series, look: Look | None, metric: PrimaryMetric) -> None:
    """The baseline as a horizontal line: its mean with the interval as a band, or every seed dotted
    if there are too few."""
    if look is None or values.empty:
        return
    m = mean(values)
    line = ax.axhline(m.mean, color=look.colour, lw=1)
    if m.n >= PROVISIONAL:
        ax.axhspan(m.low, m.high, color=look.colour, alpha=0.1, lw=0)
        hover.tell(line, f"{look.label}: {_interval(metric, m)}")
    else:
        hover.tell(line, f"{look.label}: {valued(metric, m.mean)}")
        for value in values:
            ax.axhline(value, color=look.colour, lw=0.6, ls=":")
