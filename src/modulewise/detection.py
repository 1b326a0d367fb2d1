"""What a t-test over seeds can find: its power, by the noncentral t-distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import optimize, special

POWER = 0.8
"""Chance that is called enough."""


def power(effect: float, n: int | np.ndarray, level: float, sides: int = 2) -> np.ndarray:
    """Chance that a t-test of paired differences finds an effect.

    Args:
        effect: true mean of the differences over their standard deviation.
        n: number of seeds, 2 or more.
        level: of the test, corrected for others of its family.
        sides: of the test.

    Example:
        >>> round(float(power(1.0, 10, 0.05)), 3)
        0.803
    """
    n = np.asarray(n, float)
    bar = special.stdtrit(n - 1, 1 - level / sides)
    centre = abs(effect) * np.sqrt(n)
    found = 1 - _below(bar, n - 1, centre)
    if sides == 2:
        found = found + _below(-bar, n - 1, centre)
    return np.asarray(found)


def _below(bar: np.ndarray, freedom: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Chance of a value below a bar. SciPy gives no number far below the centre, where it is less
    than 1e-15."""
    return np.nan_to_num(special.nctdtr(freedom, centre, bar))


def detectable(n: int, level: float) -> float:
    """The effect, as of `power`, that a two-sided test finds with a chance of `POWER`.

    Args:
        n: number of seeds.
        level: of the test.

    Example:
        >>> round(detectable(6, 0.05), 2)
        1.43
    """
    return least(lambda effect: float(power(effect, n, level)))


def least(rising: Callable[[float], float]) -> float:
    """Where a chance that rises from zero on comes to `POWER`."""
    top = 1.0
    while rising(top) < POWER:
        top *= 2
    return float(optimize.brentq(lambda x: rising(x) - POWER, 0.0, top))
