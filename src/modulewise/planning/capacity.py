"""The largest batch whose step fits a memory of given size, from a few measured ones. No torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

TRIES = 16
"""Measurements at most, of one cap."""
LEAST = 2
"""Images in the smallest batch: BatchNorm cannot normalise a single one."""


class Fit(NamedTuple):
    """A batch size, and how it was found.

    `measured`: its step was measured to fit, and one more image not to. `projected`: by the growth
    of smaller batches.
    """

    batch: int | None
    """None if not even the smallest batch fits."""
    how: Literal["measured", "projected"]


def largest(peak: Callable[[int], float], known: Mapping[int, float], cap: int, most: int) -> Fit:
    """The largest batch that fits.

    Memory grows linearly with the batch, and with its square where a loss compares all pairs: a
    curve through the points nearest the cap says where to look.

    Args:
        peak: measures the bytes of a step of so many images; infinite if it fails for want of
            memory.
        known: bytes of at least two sizes, by size.
        cap: bytes.
        most: the largest batch that may be measured; beyond it the answer is a projection.
    """
    found = dict(known)
    for attempt in range(TRIES):
        fits = max((n for n, size in found.items() if size <= cap), default=LEAST - 1)
        above = min((n for n, size in found.items() if size > cap and n > fits), default=None)
        if above == fits + 1:
            return Fit(fits if fits >= LEAST else None, "measured")
        guess = max(crossing(found, cap), fits + 1)
        if above is not None:
            halve = attempt > TRIES // 2 or math.isinf(found[above])
            guess = (fits + above) // 2 if halve else min(guess, above - 1)
        if guess > most:
            return Fit(guess, "projected")
        found[guess] = peak(guess)
    return Fit(fits if fits >= LEAST else None, "projected")


def crossing(found: Mapping[int, float], cap: float) -> int:
    """Where the curve through measured points crosses a cap: the largest size not above it.

    Between two points the curve is straight. Beyond the last it goes on as from the last but one,
    and bends as the last four points do: in equal measure, however far apart they are, if a term
    grows with the square; less and less, which does not count, if only the place in the step where
    the peak lies has moved.

    Args:
        found: bytes of at least two sizes.
        cap: bytes.

    Example:
        >>> crossing({10: 120, 20: 220}, 1000), crossing({n: n * n + 2 for n in (1, 2, 4, 8)}, 102)
        (98, 10)
    """
    points = [(n, y) for n, y in sorted(found.items()) if math.isfinite(y)]
    place = next((i for i, (_, y) in enumerate(points) if y > cap), len(points))
    near = points[max(0, place - 4) : max(2, place + 1)]
    pairs = list(itertools.pairwise(near))
    slopes = [(y - x) / (b - a) for (a, x), (b, y) in pairs]
    bend = 0.0
    if place == len(points) and len(near) == 4:
        spans = [near[i + 2][0] - near[i][0] for i in (0, 1)]
        first, last = ((slopes[i + 1] - slopes[i]) / spans[i] for i in (0, 1))
        bend = max(0.0, min(first, last, 2 * last - first))
    (a, _), (b, yb) = near[-2:]
    # y = yb + slope (n - b) + bend (n - a)(n - b)
    slope, left = slopes[-1] + bend * (b - a), cap - yb
    if slope <= 0:
        return 2 * b
    return math.floor(b + 2 * left / (slope + math.sqrt(slope**2 + 4 * bend * left)) + 1e-9)
