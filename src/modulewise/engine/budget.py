"""How many epochs a budget pays for."""

from __future__ import annotations

from modulewise.config.training import TrainConfig
from modulewise.engine.flops import Flops
from modulewise.schedules import Schedule


def epochs(
    training: TrainConfig,
    schedule: Schedule,
    flops: Flops,
    seen: int,
    steps: int,
    step_seconds: float | None = None,
) -> int:
    """Number of epochs the budget resolves to, at least one a phase.

    Args:
        training: holds the budget: epochs, FLOPs or seconds.
        schedule: shares the epochs out among its phases.
        flops: of a training image.
        seen: number of images in an epoch.
        steps: number of joint steps in an epoch.
        step_seconds: of a joint step, which a budget in seconds needs unless the settings say it.
    """
    n, step = training.epochs, training.step_seconds or step_seconds
    if training.flops:
        n = max(1, int(training.flops / (seen * (flops.trunk + flops.helpers))))
    elif training.seconds and step:
        n = max(1, int(training.seconds / (steps * step)))
    return sum(schedule.phases(n))
