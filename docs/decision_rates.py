"""How often the report's decision on local learning errs: the table of docs/report.md.

    python docs/decision_rates.py

Draws paired losses from a normal distribution and judges them as the report does: one-sided tests
against the margin, with Holm's correction over all configurations tested, which
truly lose the same.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from modulewise.report.decision import MARGIN, Loss
from modulewise.report.verdicts import LEVEL, holm

SWEEPS = 3000
STD = 0.3
"""Of a paired difference, in points."""


def rates(loss: float, seeds: int, family: int) -> tuple[float, float, float]:
    """Shares: of configurations judged worth it, of sweeps with such a one, of configurations
    judged less accurate."""
    draws = np.random.default_rng(0).normal(loss, STD, size=(SWEEPS, family, seeds))
    worth, worse = np.zeros((2, SWEEPS, family), bool)
    for place, sweep in enumerate(draws):
        losses = [Loss(seeds, float(g.mean()), float(g.std(ddof=1))) for g in sweep]
        for found, more in ((worth, False), (worse, True)):
            found[place] = [p < LEVEL for p in holm([x.p(MARGIN, more) for x in losses])]
    return float(worth.mean()), float(worth.any(axis=1).mean()), float(worse.mean())


def main() -> None:
    """Print the table."""
    titles = (
        "True loss",
        "Seeds",
        "Tested",
        "worth it",
        "any worth it, per sweep",
        "less accurate",
    )
    print(f"| {' | '.join(titles)} |")
    print(f"|{' --- |' * len(titles)}")
    for loss, seeds, family in product((0.5, 0.25, 0.0), (3, 5, 10), (1, 4)):
        found = " | ".join(f"{100 * x:.1f} %" for x in rates(loss, seeds, family))
        print(f"| {loss:g} | {seeds} | {family} | {found} |")


if __name__ == "__main__":
    main()
