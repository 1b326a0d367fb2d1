"""Whether two means agree: Welch's intervals, Holm's correction, and the rule that makes a verdict
of them.

**reproduced**: the 90 % interval of the difference lies inside ± the tolerance (two one-sided tests
at 5 %). **better**, **worse**: the 95 % interval excludes zero, with Holm's correction over all
comparisons of an exhibit. Where both hold, the verdict is reproduced. **inconclusive**: neither
holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import special, stats

from modulewise.detection import POWER

LEVEL = 0.05
"""Of every test; the interval that must lie inside the tolerance has level 1 - 2 * LEVEL."""
MOST_SEEDS = 100
"""Larger numbers of seeds are not worked out."""
Direction = Literal["lower", "higher"]
Verdict = Literal["reproduced", "better", "worse", "inconclusive"]


class Sample(NamedTuple):
    """Mean and standard deviation of n runs."""

    n: int
    mean: float
    std: float


class Difference(NamedTuple):
    """Difference of two means, its standard error and degrees of freedom."""

    value: float
    error: float
    freedom: float

    def half(self, level: float) -> float:
        """Half the width of the interval of this level."""
        return float(stats.t.ppf((1 + level) / 2, self.freedom)) * self.error

    @property
    def p(self) -> float:
        """Of no difference, two-sided."""
        if self.error == 0:
            return float(self.value == 0)
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))


def welch(ours: Sample, theirs: Sample) -> Difference:
    """The difference `ours - theirs` without assuming equal variances; each needs two runs.

    Example:
        >>> welch(Sample(5, 8.0, 0.3), Sample(5, 7.5, 0.3)).freedom
        8.0
    """
    a, b = ours.std**2 / ours.n, theirs.std**2 / theirs.n
    if a + b == 0:
        return Difference(ours.mean - theirs.mean, 0.0, float(ours.n + theirs.n - 2))
    freedom = (a + b) ** 2 / (a**2 / (ours.n - 1) + b**2 / (theirs.n - 1))
    return Difference(ours.mean - theirs.mean, math.sqrt(a + b), freedom)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: below a level exactly where his step-down procedure rejects at it.

    Example:
        >>> holm([0.04, 0.01])
        [0.04, 0.02]
    """
    out, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        out[place] = largest
    return out


def to_std(spread: float, kind: str, n: int) -> float:
    """A published spread as a standard deviation.

    Args:
        spread: as printed.
        kind: `sd`, `se` or `ci95` (half the width of a t-interval).
        n: number of runs, at least 2.

    Example:
        >>> to_std(0.1, "se", 4)
        0.2
    """
    if kind == "sd":
        return spread
    return spread * math.sqrt(n) / (1.0 if kind == "se" else float(stats.t.ppf(0.975, n - 1)))


def inside(difference: Difference, tolerance: float) -> bool:
    """Whether the 90 % interval lies inside ± the tolerance."""
    return abs(difference.value) + difference.half(1 - 2 * LEVEL) < tolerance


def verdict(
    difference: Difference, adjusted_p: float, tolerance: float, direction: Direction = "lower"
) -> Verdict:
    """The rule.

    Args:
        difference: ours minus the published value.
        adjusted_p: its p-value after Holm's correction.
        tolerance: of the published number.
        direction: of better values.

    Example:
        >>> verdict(welch(Sample(5, 8.0, 0.3), Sample(5, 7.0, 0.3)), 0.001, 0.5)
        'worse'
    """
    if inside(difference, tolerance):
        return "reproduced"
    if adjusted_p < LEVEL:
        return side(difference.value, direction)
    return "inconclusive"


def side(difference: float, direction: Direction) -> Literal["better", "worse"]:
    """What a difference other than zero says of ours."""
    return "better" if (difference < 0) == (direction == "lower") else "worse"


def seeds_needed(
    ours: Sample, theirs: Sample, tolerance: float, comparisons: int = 1
) -> int | None:
    """The smallest number of our seeds, above the present one, that ends in a verdict with a chance
    of `POWER` if our true mean and spread are those that we have.

    Args:
        ours: what we have, a spread above zero.
        theirs: the published sample; it cannot grow.
        tolerance: of the published number.
        comparisons: of the exhibit; the test of a difference is corrected for all of them
            (Bonferroni's, so not too few seeds).

    Returns:
        The number, or None if `MOST_SEEDS` are not enough.
    """
    for n in range(ours.n + 1, MOST_SEEDS + 1):
        if _chance(ours._replace(n=n), theirs, tolerance, LEVEL / comparisons) >= POWER:
            return n
    return None


def _chance(ours: Sample, theirs: Sample, tolerance: float, level: float) -> float:
    """Chance that n new runs of ours end in a verdict, the published sample staying as it is.

    Given the spread s of the new runs, which follows a chi-square law, they end in none where
    the difference of the means lies between `tolerance - t(0.95) e` and `t(1 - level / 2) e` of
    zero, e its standard error; our mean is normal.
    """
    middles = (np.arange(200) + 0.5) / 200
    spread = ours.std * np.sqrt(special.chdtri(ours.n - 1, 1 - middles) / (ours.n - 1))
    a, b = spread**2 / ours.n, theirs.std**2 / theirs.n
    error = np.sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / (ours.n - 1) + b**2 / (theirs.n - 1))
    low = tolerance - special.stdtrit(freedom, 1 - LEVEL) * error
    high = special.stdtrit(freedom, 1 - level / 2) * error
    low, one = np.clip(low, 0, high), ours.std / math.sqrt(ours.n)
    centre = abs(ours.mean - theirs.mean)
    edges = [special.ndtr((edge - centre) / one) for edge in (high, low, -low, -high)]
    return float(1 - np.mean(edges[0] - edges[1] + edges[2] - edges[3]))
