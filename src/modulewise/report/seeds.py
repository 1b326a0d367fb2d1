"""How many seeds a test over seeds needs: its power, by the noncentral t-distribution."""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from modulewise.report.stats import PROVISIONAL
from modulewise.report.verdicts import MOST_SEEDS, POWER

FIX = "fix the number before the runs"
"""Said beside every number of seeds: adding seeds until a test says something errs more often."""


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
    found = 1 - special.nctdtr(n - 1, centre, bar)
    if sides == 2:
        found = found + special.nctdtr(n - 1, centre, -bar)
    return np.asarray(found)


def needed(effect: float, level: float, sides: int = 2, above: int = 0) -> int | None:
    """The smallest number of seeds, `PROVISIONAL` or more and above one, with a chance of `POWER`
    to find an effect; None if `MOST_SEEDS` are not enough.

    Args:
        effect: as of `power`.
        level: likewise.
        sides: likewise.
        above: the number that there is.
    """
    n = np.arange(max(above + 1, PROVISIONAL), MOST_SEEDS + 1)
    enough = n[power(effect, n, level, sides) >= POWER] if len(n) and effect else n[:0]
    return int(enough[0]) if len(enough) else None


def detectable(n: int, level: float) -> float:
    """The effect, as of `power`, that a two-sided test finds with a chance of `POWER`.

    Args:
        n: number of seeds.
        level: of the test.
    """
    top = 1.0
    while power(top, n, level) < POWER:
        top *= 2
    return float(optimize.brentq(lambda x: float(power(x, n, level)) - POWER, 0, top))


def many(n: int | None) -> str:
    """A number of seeds in words."""
    return f"more than {MOST_SEEDS}" if n is None else f"{n}"


def counted(n: int) -> str:
    """So many seeds that there are, in words."""
    return "no seed" if not n else "one seed" if n == 1 else f"{n} seeds"
