"""How many seeds a test over seeds needs."""

from __future__ import annotations

import numpy as np

from modulewise.detection import POWER, power
from modulewise.report.stats import PROVISIONAL
from modulewise.report.verdicts import MOST_SEEDS

FIX = "fix the number before the runs"
"""Said beside every number of seeds: adding seeds until a test says something errs more often."""


def needed(effect: float, level: float, sides: int = 2, above: int = 0) -> int | None:
    """The smallest number of seeds, `PROVISIONAL` or more and above one, with a chance of `POWER`
    to find an effect; None if `MOST_SEEDS` are not enough.

    Args:
        effect: as of `detection.power`.
        level: likewise.
        sides: likewise.
        above: the number that there is.
    """
    n = np.arange(max(above + 1, PROVISIONAL), MOST_SEEDS + 1)
    enough = n[power(effect, n, level, sides) >= POWER] if len(n) and effect else n[:0]
    return int(enough[0]) if len(enough) else None


def many(n: int | None) -> str:
    """A number of seeds in words."""
    return f"more than {MOST_SEEDS}" if n is None else f"{n}"


def counted(n: int) -> str:
    """So many seeds that there are, in words."""
    return "no seed" if not n else "one seed" if n == 1 else f"{n} seeds"
