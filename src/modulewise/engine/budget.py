"""Number of epochs that a budget allows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from modulewise.config.training import TrainConfig
from modulewise.data.base import Data
from modulewise.engine import flops as counter
from modulewise.engine.flops import Flops, mean
from modulewise.method import Method
from modulewise.schedules import Schedule

MOST = 10**9


def prices(method: Method, schedule: Schedule, data: Data, batch_size: int) -> list[Flops]:
    """Operations of a training image in each phase of a schedule."""
    phases = range(len(schedule.phases(1)))
    trained, entered = map(schedule.trained, phases), map(schedule.entered, phases)
    batch = min(batch_size, data.sizes.train)
    return counter.by_phase(method, data.image, batch, list(trained), list(entered))


def epochs(
    training: TrainConfig,
    schedule: Schedule,
    flops: Sequence[Flops],
    seen: int,
    steps: int,
    step_seconds: float | None = None,
) -> int:
    """Number of epochs, at least one, that the budget gives the schedule to make phases of.

    Args:
        training: holds the budget.
        schedule: has the phases.
        flops: of a training image, in each phase.
        seen: number of images in an epoch.
        steps: number of joint steps in an epoch.
        step_seconds: of a joint step, which a budget in seconds needs unless the settings say it.
    """
    step = training.step_seconds or step_seconds
    if training.flops:
        return _paid(training.flops, schedule, flops, seen)
    if training.seconds and step:
        return max(1, int(training.seconds / (steps * step)))
    return training.planned


def _paid(budget: float, schedule: Schedule, flops: Sequence[Flops], seen: int) -> int:
    """Number of epochs within so many FLOPs. Where phases share them out evenly an epoch costs
    their mean; elsewhere it is the most epochs whose phases together cost no more."""
    trained = [phase.epochs > 0 for phase in schedule.phases(1)]
    one = mean(flops, [int(it) for it in trained])
    n = max(1, int(budget / (seen * (one.trunk + one.helpers))))
    lengths = [phase.epochs for phase in schedule.phases(n) if phase.epochs]
    if sum(lengths) == n and max(lengths) - min(lengths) <= 1:
        return n

    def cost(n: int) -> float:
        each = zip(flops, schedule.phases(n), strict=True)
        return seen * sum((f.trunk + f.helpers) * phase.epochs for f, phase in each)

    return max(1, bisect_right(range(1, MOST), budget, key=cost))
