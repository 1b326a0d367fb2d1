"""What planned contrasts can detect: power of paired t-tests over seeds, from an assumed standard
deviation. No torch."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from modulewise import detection
from modulewise.config.analysis import Analysis, Contrast, Family
from modulewise.config.contrasts import cells_of
from modulewise.config.plan import Plan


class Detectable(NamedTuple):
    """What a contrast can tell.

    Attributes:
        family: `primary` or `secondary`.
        contrast: the contrast.
        level: of its test, if it is the first of its family that Holm's procedure looks at.
        error: standard error of the mean over seeds, as assumed.
        effect: smallest true value that is found in 80 % of repetitions, at that level; of an
            equivalence, the smallest margin that is shown in 80 % where the true difference is
            zero.
    """

    family: Family
    contrast: Contrast
    level: float
    error: float
    effect: float


def detectable(plan: Plan, analysis: Analysis, sd: float) -> list[Detectable]:
    """What every contrast of a plan can tell, in order.

    Errors of different cells of a seed are taken as independent, each with the same spread; what
    they share by the seed makes the truth better than this.

    Args:
        plan: the sweep.
        analysis: its planned contrasts.
        sd: standard deviation over seeds of a cell's primary metric.
    """
    sizes = {"primary": len(analysis.primary), "secondary": len(analysis.secondary)}
    out = []
    for family, contrast in analysis.contrasts():
        level = analysis.alpha / sizes[family]
        error = sd * spread(plan, contrast) / math.sqrt(analysis.n)
        find = shown_margin if contrast.equivalence else found_effect
        out.append(Detectable(family, contrast, level, error, find(error, analysis.n, level)))
    return out


def spread(plan: Plan, contrast: Contrast) -> float:
    """Standard deviation of one seed's contrast over that of one cell.

    Of a difference sqrt(2). Of a slope 1 / sqrt(sum (x - mean x)^2) for x = log2 K.
    """
    if not contrast.slope:
        return math.sqrt(2)
    x = [math.log2(k) for k in cells_of(contrast.slope, plan.rows, plan.where)]
    centre = sum(x) / len(x)
    return 1 / math.sqrt(sum((it - centre) ** 2 for it in x))


def found_effect(error: float, n: int, level: float) -> float:
    """True mean that a two-sided one-sample t-test finds with the wanted power.

    Example:
        >>> round(found_effect(1 / 6**0.5, 6, 0.05), 2)  # in standard deviations
        1.43
    """
    return error * math.sqrt(n) * detection.detectable(n, level)


def shown_margin(error: float, n: int, level: float) -> float:
    """Margin within which two one-sided t-tests show a true difference of zero to lie, with the
    wanted power: |Z| + t s < margin, in standard errors."""
    bar = float(stats.t.ppf(1 - level, n - 1)) * _spreads(n)

    def power(margin: float) -> float:
        return float(np.mean(np.clip(2 * stats.norm.cdf(margin - bar) - 1, 0, None)))

    return error * detection.least(power)


def _spreads(n: int) -> NDArray[np.float64]:
    """Equally likely values of a sample's standard deviation over the true one (chi-square law)."""
    middles = (np.arange(2000) + 0.5) / 2000
    return np.sqrt(stats.chi2.ppf(middles, n - 1) / (n - 1))
