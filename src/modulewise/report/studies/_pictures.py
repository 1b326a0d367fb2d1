"""Pictures of transfer between tasks: matrices, accuracy against scores, a map of the tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from modulewise.report.studies import _ranking
from modulewise.report.tables import number

OTHER, OWN = "#0072B2", "#D55E00"
"""Colours of a module on another task, and on its own."""


def short(names: Sequence[str]) -> list[str]:
    """Names without the word that all begin with.

    Example:
        >>> short(["digits-3-5", "digits-3-8"])
        ['3-5', '3-8']
    """
    parts = [name.partition("-") for name in names]
    same = len({head for head, _, _ in parts}) == 1 and all(tail for _, _, tail in parts)
    return [tail for _, _, tail in parts] if same and len(set(names)) > 1 else list(names)


def heat(values: pd.DataFrame, label: str, decimals: int) -> Figure:
    """A matrix, source by target, in colours and numbers.

    Args:
        values: NaN where nothing is known.
        label: of the colours.
        decimals: of the numbers.
    """
    sources, targets = [str(s) for s in values.index], [str(t) for t in values]
    names = dict(zip(both := sources + targets, short(both), strict=True))
    fig = Figure(
        figsize=(2.6 + 0.44 * len(targets), 1.6 + 0.3 * len(sources)), layout="constrained"
    )
    ax = fig.subplots()
    ax.grid(False)
    array = values.to_numpy(dtype=float)
    drawn = ax.pcolormesh(np.ma.masked_invalid(array), cmap="viridis")
    ax.invert_yaxis()
    ax.set_xticks(np.arange(len(targets)) + 0.5, [names[t] for t in targets])
    ax.tick_params("x", rotation=90)
    ax.set_yticks(np.arange(len(sources)) + 0.5, [names[s] for s in sources])
    ax.tick_params(length=0)
    ax.set_xlabel("target")
    ax.set_ylabel("source")
    middle = (np.nanmin(array) + np.nanmax(array)) / 2
    for (i, j), value in np.ndenumerate(array):
        if not np.isnan(value):
            colour = "white" if value < middle else "black"
            text = number(value, decimals)
            ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=7.5)
        if sources[i] == targets[j]:
            x, y = [j, j + 1, j + 1, j, j], [i, i, i + 1, i + 1, i]
            ax.plot(x, y, color=OWN, lw=1.6, clip_on=False)
    fig.colorbar(drawn, ax=ax, label=label, fraction=0.04)
    return fig


def scatter(scores: dict[str, pd.DataFrame], truth: pd.DataFrame) -> Figure:
    """Accuracy against every score, by its label; matrices, source by target."""
    fig = Figure(figsize=(2.5 * len(scores), 2.6), layout="constrained")
    others = _ranking.others(truth)
    own = truth.where(others.isna())
    for ax, (label, values) in zip(
        np.ravel(fig.subplots(1, len(scores), sharey=True)), scores.items(), strict=True
    ):
        x = values.to_numpy().ravel()
        ax.plot(x, others.to_numpy().ravel(), ".", color=OTHER, ms=4)
        ax.plot(x, own.to_numpy().ravel(), "o", color=OWN, mfc="none")
        ax.set_xlabel(label)
    fig.axes[0].set_ylabel("accuracy (%)")
    return fig


def tasks(names: Sequence[str], points: NDArray[np.float64]) -> Figure:
    """Tasks in a plane.

    Args:
        names: of the tasks (N).
        points: where they lie (N 2).
    """
    fig = Figure(figsize=(6.4, 4.8), layout="constrained")
    ax = fig.subplots()
    ax.plot(*points.T, "o", color=OTHER)
    for name, (x, y), (dx, dy) in zip(short(names), points, _sides(points), strict=True):
        side = "left" if dx > 0 else "right"
        ax.annotate(
            name,
            (x, y),
            (5 * dx, 5 * dy),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=8,
        )
    ax.set_aspect("equal", "datalim")
    ax.margins(0.18)
    ax.set_xlabel("first coordinate")
    ax.set_ylabel("second coordinate")
    return fig


def _sides(points: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Where each label stands beside its point: away from the nearest other point."""
    for point in points:
        away = point - points
        distance = np.hypot(*away.T)
        distance[distance == 0] = np.inf
        x, y = away[distance.argmin()]
        yield 1 if x >= 0 else -1, int(np.sign(y))
