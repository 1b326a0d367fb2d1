"""What a method costs at every cut, and the cuts that cost least within a memory budget."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from modulewise.config.training import TrainConfig
from modulewise.engine.dry import (
    Lap,
    Meter,
    StageLap,
    a_batch,
    loss_laps,
    stage_laps,
    without_data,
)
from modulewise.method import Method
from modulewise.models import partition

MARGIN, ALWAYS = 0.01, 2**16
"""What a predicted peak is raised by before it is held against a budget: a share, and bytes. On
CPUs, predictions were within 0.2 % of the peaks that runs then had, but for what is not seen
without data, such as the random generator's states that checkpointing keeps."""


def raised(peak: int) -> int:
    """A predicted peak with the margin."""
    return math.ceil((1 + MARGIN) * peak) + ALWAYS


@dataclass(frozen=True)
class Pieces:
    """A network's stages, and what a method adds where it cuts.

    A module of stages a ... b costs what its stages cost and what the cut behind b adds. The last
    stage holds the head.
    """

    forward: tuple[float, ...]
    """Cost of each stage's forward pass: operations of a step, or seconds."""
    whole: tuple[float, ...]
    """Cost of its forward and backward pass."""
    kept: tuple[int, ...]
    """Bytes that its forward pass leaves alive, its output included."""
    added: tuple[float, ...]
    """What a cut behind it adds to the cost of a step."""
    beside: tuple[int, ...]
    """The most bytes, beside those that its module's stages keep, in the module's pass."""
    passed: tuple[int, ...]
    """Bytes of its output."""
    segments: bool
    """Whether modules are segments of one loss: all but the last run forward a second time."""

    @cached_property
    def _totals(self) -> tuple[list[float], list[float], list[float]]:
        """Sums of what all stages before one cost forward, cost, and keep."""
        forward, whole, kept = (
            list(itertools.accumulate(numbers, initial=0))
            for numbers in (self.forward, self.whole, self.kept)
        )
        return forward, whole, kept

    def cost(self, start: int, end: int) -> float:
        """Cost of a module of stages start ... end - 1."""
        forward, whole, kept = self._totals
        again = forward[end] - forward[start] if self.segments and end < len(kept) - 1 else 0
        return whole[end] - whole[start] + again + self.added[end - 1]

    def size(self, start: int, end: int) -> float:
        """Bytes of a module of stages start ... end - 1 while it learns."""
        kept = self._totals[2]
        return kept[end] - kept[start] + self.beside[end - 1]

    def left(self, cut: int) -> int:
        """Bytes that a cut leaves alive until the backward pass of what is behind it has begun."""
        return self.passed[cut - 1] if self.segments else 0

    def step(self, cuts: Sequence[int]) -> float:
        """Cost of a step."""
        ends = [0, *cuts, len(self.kept)]
        return sum(self.cost(a, b) for a, b in itertools.pairwise(ends))

    def largest(self, cuts: Sequence[int]) -> float:
        """Bytes of the largest module, with what the cuts before it leave."""
        ends = [0, *cuts, len(self.kept)]
        left = itertools.accumulate((self.left(cut) for cut in cuts), initial=0)
        modules = zip(itertools.pairwise(ends), left, strict=True)
        return max(self.size(a, b) + before for (a, b), before in modules)

    def priced(
        self, forward: Sequence[float], whole: Sequence[float], added: Sequence[float]
    ) -> Pieces:
        """The same with other costs."""
        return replace(self, forward=tuple(forward), whole=tuple(whole), added=tuple(added))


def counted(method: Method, training: TrainConfig, image: tuple[int, ...]) -> Pieces:
    """Bytes and operations of a step, found without data.

    Args:
        method: of as many modules as the network has stages; it stays as it is.
        training: of the run.
        image: shape of one image (C, H, W).
    """
    with without_data(method) as ghost:
        batch = a_batch(ghost.task, image, training.micro_batch)
        with Meter() as meter:
            alone = stage_laps(ghost.trunk, batch, training, meter)
            losses = loss_laps(ghost, batch, training, meter)
        segments = len(losses) < ghost.k
    return combined(alone, losses, segments)


def combined(
    alone: Sequence[StageLap], losses: dict[int, tuple[int, Lap]], segments: bool
) -> Pieces:
    """The pieces that laps of stages and of losses make."""
    whole = [stage.forward.cost + stage.backward.cost for stage in alone]
    kept = [stage.forward.live - stage.before for stage in alone]
    peaks = [max(stage.forward.peak, stage.backward.peak) - stage.before for stage in alone]
    added = [0.0] * len(alone)
    if not segments:
        for k, (before, lap) in losses.items():
            peaks[k] = lap.peak - before
            added[k] = max(0.0, lap.cost - whole[k])
    return Pieces(
        tuple(stage.forward.cost for stage in alone),
        tuple(whole),
        tuple(kept),
        tuple(added),
        tuple(peak - own for peak, own in zip(peaks, kept, strict=True)),
        tuple(stage.passed for stage in alone),
        segments,
    )


def within(
    pieces: Pieces, k: int, budget: float, peak: Callable[[list[int]], int]
) -> tuple[list[int], int]:
    """The cuts into k modules that cost least among those that stay within a budget, or those of
    the least peak if none do; and that peak.

    Args:
        pieces: of the method.
        k: number of modules.
        budget: bytes.
        peak: predicts the peak of a run with some cuts.
    """

    n = len(pieces.kept)
    least = partition.smallest(n, k, pieces.size, pieces.left)
    found = peak(least)
    # What a run holds beside its largest module hardly depends on where the cuts are.
    limit, tried = budget - (found - pieces.largest(least)), list[list[int]]()
    while found <= budget:
        cuts = partition.cheapest(n, k, pieces.cost, pieces.size, limit)
        if cuts is None or cuts == least or len(tried) == TRIES:
            break
        if (predicted := peak(cuts)) <= budget:
            return cuts, predicted
        tried.append(cuts)
        limit = min(limit - (predicted - budget), pieces.largest(cuts) - 1)
    return least, found


TRIES = 8
"""Number of cuts whose peak is predicted before those of the least peak are taken."""
