"""How often the report's verdicts and intervals err: the table of docs/report.md.

    python docs/verdict_rates.py

Draws values of seeds, without any true difference or with one as large as the tolerance, and judges
them as the report does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from modulewise.report.across import LEAST_TASKS, Tasks, improvement
from modulewise.report.stats import mean
from modulewise.report.verdicts import LEVEL, Sample, holm, inside, verdict, welch
from modulewise.runs.result import PrimaryMetric

REPEATS = 10_000
THEIRS = 5
"""Published runs."""
STD, TOLERANCE = 0.15, 0.5
"""Of either side's values, in points; and what counts as reproduced."""
WIDE = 0.3
"""Of values whose first verdict is often inconclusive."""
EXHIBIT = 4
"""Numbers of an exhibit."""
FIRST, LAST = 3, 10
"""Seeds at the first look, and at the last."""


def sample(values: np.ndarray) -> Sample:
    """Mean and standard deviation of some seeds."""
    return Sample(len(values), float(values.mean()), float(values.std(ddof=1)))


def exhibits(seeds: int, repeats: int) -> float:
    """Share of exhibits with any better or worse, where nothing differs and there is no
    tolerance."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(repeats):
        ours, theirs = (rng.normal(0, STD, (EXHIBIT, n)) for n in (seeds, THEIRS))
        found = [welch(sample(a), sample(b)) for a, b in zip(ours, theirs, strict=True)]
        wrong += min(holm([d.p for d in found])) < LEVEL
    return wrong / repeats


def reproduced(seeds: int, repeats: int) -> float:
    """Share of numbers called reproduced, which truly differ by the tolerance."""
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(repeats):
        ours, theirs = (rng.normal(m, STD, n) for m, n in ((TOLERANCE, seeds), (0, THEIRS)))
        wrong += inside(welch(sample(ours), sample(theirs)), TOLERANCE)
    return wrong / repeats


def added(shift: float, tolerance: float, std: float, repeats: int) -> float:
    """Share of numbers that end in a wrong verdict where a seed is added after every inconclusive
    one: better or worse without a difference, reproduced with one of the tolerance."""
    rng, wrong = np.random.default_rng(2), 0
    for _ in range(repeats):
        ours, theirs = rng.normal(shift, std, LAST), sample(rng.normal(0, std, THEIRS))
        looks = (welch(sample(ours[:n]), theirs) for n in range(FIRST, LAST + 1))
        said = (verdict(d, d.p, tolerance) for d in looks)
        found = next((word for word in said if word != "inconclusive"), "")
        wrong += found == "reproduced" if shift else found in ("better", "worse")
    return wrong / repeats


def probabilities(seeds: int, repeats: int) -> float:
    """Share of intervals of the probability of less error that exclude one half, where recipe and
    baseline differ in nothing, over the fewest tasks that it is shown for: as many K of one
    network, which share the baseline's seeds."""
    rng, wrong, place = np.random.default_rng(3), 0, ("data", "net", "")
    for _ in range(repeats):
        own = {(place, k): rng.normal(0, STD, seeds) for k in range(2, 2 + LEAST_TASKS)}
        base = {place: rng.normal(0, STD, seeds)}
        (row,) = improvement(Tasks({"ours": own}, base, PrimaryMetric())).to_dict("records")
        wrong += not row["low"] <= 0.5 <= row["high"]
    return wrong / repeats


def gaps(draw: Callable[[np.random.Generator, int], np.ndarray], seeds: int, repeats: int) -> float:
    """Share of 95 % intervals of a gap, paired by seed, that miss its true value, zero."""
    rng, wrong = np.random.default_rng(4), 0
    for _ in range(repeats):
        found = mean(draw(rng, seeds))
        wrong += not found.low <= 0 <= found.high
    return wrong / repeats


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    """Values around zero."""
    return rng.normal(size=n)


def skewed(rng: np.random.Generator, n: int) -> np.ndarray:
    """Values around zero with a long tail to one side: lognormal, its logarithm's deviation 0.5."""
    return rng.lognormal(0, 0.5, n) - np.exp(0.125)


def rows(repeats: int) -> Iterator[tuple[str, str, float]]:
    """What is said, of what, and how often it is wrong, in percent."""
    for n in (2, 3, 5):
        what = f"{n} seeds against {THEIRS}, fixed beforehand"
        yield "any better or worse, per exhibit of four", what, exhibits(n, repeats)
        yield "reproduced, at the tolerance", what, reproduced(n, repeats)
    adding = f"seeds added from {FIRST} to {LAST} until a verdict comes"
    yield "better or worse", adding, added(0.0, 1e-9, STD, repeats)
    wide = f"{adding}, values that spread by {WIDE}"
    yield "reproduced, at the tolerance", wide, added(TOLERANCE, TOLERANCE, WIDE, repeats)
    for n in (3, 5, 10):
        over = f"{n} seeds, {LEAST_TASKS} K of one network"
        yield "probability of less error other than one half", over, probabilities(n, repeats // 5)
    for name, draw in (("normal", normal), ("skewed", skewed)):
        for n in (3, 5):
            of = f"{n} seeds, {name}"
            yield "95 % interval of a gap that misses it", of, gaps(draw, n, repeats)


def main() -> None:
    """Print the table."""
    print("| Said | Of | wrong |\n| --- | --- | --- |")
    for said, of, share in rows(REPEATS):
        print(f"| {said} | {of} | {100 * share:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
