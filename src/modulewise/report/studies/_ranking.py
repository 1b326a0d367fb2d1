"""How well scores rank sources by what their modules are worth on a target: matrices source by
target, rank correlations, regret, bootstrap intervals, and a map of the tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 1000
Values = NDArray[np.float64]
Figure = Callable[[Values, Values], float]
"""A figure of scores and accuracies, a pair a source."""


class Estimate(NamedTuple):
    """A figure with its 95 % bootstrap interval, and its resamples."""

    value: float
    low: float
    high: float
    resamples: Values


def matrix(rows: pd.DataFrame, name: str, targets: list[str]) -> pd.DataFrame:
    """A quantity by source (rows) and target (columns), the mean over seeds; sources that are
    targets first, in the targets' order.

    Args:
        rows: `source`, `target` and the quantity, a row for every seed.
        name: of the quantity.
        targets: in order.
    """
    sources = list(dict.fromkeys(rows["source"]))
    order = [t for t in targets if t in sources] + [s for s in sources if s not in targets]
    return rows.pivot_table(name, "source", "target", "mean").reindex(order, columns=targets)


def others(values: pd.DataFrame) -> pd.DataFrame:
    """A matrix without the pairs of a task with itself."""
    same = values.index.to_numpy()[:, None] == values.columns.to_numpy()[None, :]
    return values.mask(same)


def per_target(how: Figure, scores: pd.DataFrame, truth: pd.DataFrame) -> pd.Series:
    """A figure of every target: of its scores and accuracies over the sources that have both."""
    values = [
        _known(how, a, b)
        for a, b in zip(scores.to_numpy(dtype=float).T, truth.to_numpy(dtype=float).T, strict=True)
    ]
    return pd.Series(values, truth.columns, dtype=float)


def _known(how: Figure, a: Values, b: Values) -> float:
    """A figure of the pairs of which both are known; NaN of none."""
    known = ~(np.isnan(a) | np.isnan(b))
    return how(a[known], b[known]) if known.any() else np.nan


def spearman(a: Values, b: Values) -> float:
    """Spearman's rank correlation; NaN where all values are equal."""
    return _correlation(stats.rankdata(a), stats.rankdata(b))


def kendall(a: Values, b: Values) -> float:
    """Kendall's tau-b; NaN where all values are equal."""
    return _correlation(*(np.sign(v[:, None] - v[None, :]).ravel() for v in (a, b)))


def _correlation(a: Values, b: Values) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else np.nan


def regret(scores: Values, truth: Values) -> float:
    """Accuracy lost by choosing the source that the score ranks first, against the best source; of
    several first ones the mean."""
    return float(truth.max() - truth[scores == scores.max()].mean())


def regret_of_chance(_: Values, truth: Values) -> float:
    """Accuracy lost by any source, on average, against the best."""
    return float(truth.max() - truth.mean())


def bootstrap(
    figure: Callable[[NDArray[np.int64]], float], targets: int, resamples: int = RESAMPLES
) -> Estimate:
    """A figure with the 2.5th and 97.5th percentile over targets drawn with repetition; the draws
    are the same for every figure of as many targets.

    Args:
        figure: of some targets, by number.
        targets: their number.
        resamples: number of draws.
    """
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, targets, (resamples, targets))
    values = np.array([figure(one) for one in drawn])
    known = values[~np.isnan(values)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return Estimate(figure(np.arange(targets)), float(low), float(high), values)


def mean_of(values: pd.Series) -> Estimate:
    """The mean over targets of a figure of every target."""
    array = values.to_numpy()

    def figure(index: NDArray[np.int64]) -> float:
        some = array[index]
        some = some[~np.isnan(some)]
        return float(some.mean()) if len(some) else np.nan

    return bootstrap(figure, len(array))


def over_all(how: Figure, scores: pd.DataFrame, truth: pd.DataFrame) -> Estimate:
    """A figure over all pairs of a source and a target; a target is drawn with all its sources."""
    a, b = scores.to_numpy(dtype=float), truth.to_numpy(dtype=float)
    return bootstrap(
        lambda index: _known(how, a[:, index].ravel(), b[:, index].ravel()), b.shape[1]
    )


def squared_distances(scores: Values) -> Values:
    """Squared distances of tasks from their scores (N N): with s_ij the mean of both directions,
    d_ij^2 = s_ii + s_jj - 2 s_ij, and none below zero."""
    s = (scores + scores.T) / 2
    own = np.diag(s)
    return np.clip(own[:, None] + own[None, :] - 2 * s, 0, None)


def plane(squared: Values) -> tuple[Values, float]:
    """Classical multidimensional scaling.

    Args:
        squared: squared distances (N N), symmetric.

    Returns:
        Points of a plane (N 2) whose distances are nearest to the given ones, in the sense of
        their inner products; and the share of all positive eigenvalues that the plane has.
    """
    n = len(squared)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-centre @ squared @ centre / 2)
    values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1]
    points = vectors[:, :2] * np.sqrt(values[:2])
    # Each axis points to its farthest point: one making of the map is no mirror of another.
    signs = np.sign(points[np.abs(points).argmax(0), range(points.shape[1])])
    return points * np.where(signs, signs, 1), float(values[:2].sum() / max(values.sum(), 1e-300))
