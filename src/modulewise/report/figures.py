"""Figures of one data set and network: error against K, learning curves, error over depth.

Colours are Okabe and Ito's, markers and dashes differ too; the legend stands beside the panels, never on the lines.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from .frame import Frame
from .stats import PROVISIONAL, mean

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
STYLE = Path(__file__).parent / "report.mplstyle"
WIDTHS = {1: 4.2, 2: 3.1, 3: 2.3}
"""Number of panels side by side -> width of each in inches; with the legend they fill a printed page, a little reduced."""
LEGEND = 1.8
"""Width of the legend in inches."""
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
"""Of a logarithmic axis of errors in percent."""


class Look(NamedTuple):
    """How a recipe is drawn, in every figure of a report the same."""

    label: str
    colour: str
    marker: str
    dash: str


def looks(frame: Frame) -> dict[str, Look]:
    """Recipe -> its look: the baseline black, the others by their place in the sweep."""
    out = {}
    for n, name in enumerate(r for r in frame.labels if r != frame.baseline):
        dash = DASHES[n // len(COLOURS) % len(DASHES)]
        out[name] = Look(frame.labels[name], COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)], dash)
    if frame.baseline:
        out[frame.baseline] = Look(frame.labels[frame.baseline], "#000000", "", "-")
    return out


def error_against_modules(runs: pd.DataFrame, frame: Frame) -> Figure | None:
    """Test error against K: mean with its 95 % t-interval, single seeds where there are too few; the baseline as a line.

    Args:
        runs: done runs of one data set, network and settings.
        frame: where they are from.
    """
    own = runs[runs["recipe"] != frame.baseline].dropna(subset=["error"])
    if own.empty:
        return None
    (fig, (ax,)), look = _panels(1), looks(frame)
    recipes = [r for r in frame.labels if r in set(own["recipe"])]
    for place, name in enumerate(recipes):
        shift = 2 ** (0.07 * (place - (len(recipes) - 1) / 2))
        mine = own[own["recipe"] == name]
        points = [(k * shift, mine.loc[mine["modules"] == k, "error"]) for k in sorted(set(mine["modules"]))]
        ax.plot([x for x, _ in points], [e.mean() for _, e in points], color=look[name].colour, ls=look[name].dash, lw=1)
        for x, errors in points:
            _point(ax, x, errors, look[name])
    base = runs.loc[runs["recipe"] == frame.baseline, "error"].dropna()
    _level(ax, base, look.get(frame.baseline or ""))
    ks = sorted(set(own["modules"]))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(ks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
    ax.set_xlim(min(ks) / 1.5, max(ks) * 1.5)
    ax.set_ylim(bottom=max(0.0, ax.get_ylim()[0]))
    ax.set_xlabel("number of modules K")
    _legend(fig, look, [*([frame.baseline] if frame.baseline and len(base) else []), *recipes])
    return fig


def learning_curves(runs: pd.DataFrame, frame: Frame) -> Figure | None:
    """Test error after every epoch, a panel per K: the mean over seeds thick, every seed thin; the baseline in every panel."""
    curves = frame.curves.merge(runs[["path", "recipe", "modules", "seed"]], on="path")
    curves = curves[np.isfinite(curves["error"])]

    def draw(ax: Axes, shown: pd.DataFrame, look: Look) -> None:
        _seeds(ax, shown, "epoch", look)
        full = shown.groupby("epoch")["error"].agg(["mean", "count"])
        full = full[full["count"] == shown["seed"].nunique()]
        ax.plot(full.index, full["mean"], color=look.colour, ls=look.dash, marker=look.marker, markevery=0.2, ms=3.5)

    fig = _by_modules(curves, frame, draw)
    for ax in fig.axes if fig else []:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_xlabel("epoch")
        _maybe_log(ax, curves["error"])
    return fig


def error_over_depth(runs: pd.DataFrame, frame: Frame) -> Figure | None:
    """Test error of every module's own head, a panel per K: mean over seeds; the baseline as a line."""
    depth = frame.depth.merge(runs[["path", "recipe", "modules", "seed"]], on="path")
    cut = depth["modules"] > 1
    if not cut.any():
        return None

    def draw(ax: Axes, shown: pd.DataFrame, look: Look) -> None:
        if shown["modules"].iloc[0] == 1:
            _level(ax, shown["error"], look)
            return
        _seeds(ax, shown, "module", look)
        centre = shown.groupby("module")["error"].mean()
        ax.plot(centre.index, centre, color=look.colour, ls=look.dash, marker=look.marker, ms=3.5)

    fig = _by_modules(depth[cut | (depth["recipe"] == frame.baseline)], frame, draw)
    for ax in fig.axes if fig else []:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("module, from the input on")
        ax.set_ylim(bottom=max(0.0, ax.get_ylim()[0]))
    return fig


Draw = Callable[[Axes, pd.DataFrame, Look], None]


def _by_modules(data: pd.DataFrame, frame: Frame, draw: Draw) -> Figure | None:
    """A panel per K with every recipe drawn in it, the baseline's data in each; None without data."""
    own, base = data[data["recipe"] != frame.baseline], data[data["recipe"] == frame.baseline]
    ks = sorted(set(own["modules"])) or ([1] if len(base) else [])
    if not ks:
        return None
    (fig, axes), look = _panels(len(ks)), looks(frame)
    recipes = [r for r in frame.labels if r in set(own["recipe"])]
    shown_baseline = [frame.baseline] if frame.baseline and len(base) else []
    for ax, k in zip(axes, ks, strict=True):
        ax.set_title(f"K = {k}")
        for name in [*shown_baseline, *recipes]:
            shown = base if name == frame.baseline else own[(own["recipe"] == name) & (own["modules"] == k)]
            if len(shown):
                draw(ax, shown, look[name])
    _legend(fig, look, [*shown_baseline, *recipes])
    return fig


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of some panels with a common error axis, and room for the legend at the right."""
    columns = 2 if count in (2, 4) else min(3, count)
    rows = -(-count // columns)
    height = 3.2 if count == 1 else 2.4
    fig = Figure(figsize=(WIDTHS[columns] * columns + LEGEND, height * rows), layout="constrained")
    axes = fig.subplots(rows, columns, sharey=True, squeeze=False)
    for ax in axes.ravel()[count:]:
        ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel("test error, %")
    return fig, list(axes.ravel()[:count])


def _seeds(ax: Axes, shown: pd.DataFrame, x: str, look: Look) -> None:
    for _, seed in shown.groupby("seed"):
        ax.plot(seed[x], seed["error"], color=look.colour, lw=0.5, alpha=0.45)


def _point(ax: Axes, x: float, errors: pd.Series, look: Look) -> None:
    """A mean with its interval, or every seed by itself if there are too few."""
    m = mean(errors)
    if m.n < PROVISIONAL:
        ax.plot([x] * m.n, errors, ls="", marker=look.marker, color=look.colour, mfc="white", ms=4)
        return
    ax.errorbar(x, m.mean, [[m.mean - m.low], [m.high - m.mean]], color=look.colour, marker=look.marker, capsize=2.5, lw=1)


def _level(ax: Axes, errors: pd.Series, look: Look | None) -> None:
    """The baseline as a horizontal line: its mean with the interval as a band, or every seed dotted if there are too few."""
    if look is None or errors.empty:
        return
    m = mean(errors)
    ax.axhline(m.mean, color=look.colour, lw=1)
    if m.n >= PROVISIONAL:
        ax.axhspan(m.low, m.high, color=look.colour, alpha=0.1, lw=0)
    else:
        for error in errors:
            ax.axhline(error, color=look.colour, lw=0.6, ls=":")


def _maybe_log(ax: Axes, values: pd.Series) -> None:
    """A logarithmic axis of errors where they span more than a factor of four."""
    if values.min() <= 0 or values.max() / values.min() < 4:
        return
    ax.set_yscale("log")
    ticks = [t for t in TICKS if values.min() * 0.9 <= t <= values.max() * 1.1]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_formatter(NullFormatter())


def _legend(fig: Figure, look: dict[str, Look], names: Sequence[str]) -> None:
    shown = [look[n] for n in names]
    handles = [Line2D([], [], color=s.colour, ls=s.dash, marker=s.marker, label=s.label) for s in shown]
    fig.legend(handles=handles, loc="outside right upper", handlelength=2.6)


def files(make: Callable[[], Figure | None]) -> dict[str, bytes] | None:
    """Draw a figure and return it as `svg` and `pdf`, the same bytes for the same data; None if there is nothing to draw."""
    with style.context(STYLE):
        fig = make()
        if fig is None:
            return None
        svg, pdf = io.BytesIO(), io.BytesIO()
        fig.savefig(svg, format="svg", metadata={"Date": None})
        fig.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    return {"svg": svg.getvalue(), "pdf": pdf.getvalue()}


def inline(svg: bytes, prefix: str) -> str:
    """An SVG to stand in a page: without prologue and metadata, its ids made unique by a prefix."""
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    return re.sub(r'(href="|url\()#', rf"\1#{prefix}-", text)
