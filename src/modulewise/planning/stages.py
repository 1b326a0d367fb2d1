"""Seconds of every stage and of every cut, measured at two small batch sizes: what an image costs
hardly depends on how many there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from modulewise.config.training import TrainConfig
from modulewise.engine.dry import Lap, StageLap, a_batch, loss_laps, stage_laps
from modulewise.method import Method
from modulewise.optim import ModuleOptimizers

SIZES = (16, 48)
"""Numbers of images."""
REPEATS = 2
"""Number of times that each is measured, after a first time; the fastest counts."""


class Stopwatch:
    """Gives laps in seconds.

    Args:
        on: the device; on a CPU with one thread its CPU time counts, which others do not disturb.
    """

    def __init__(self, on: torch.device) -> None:
        self.on = on
        alone = on.type == "cpu" and torch.get_num_threads() == 1
        self.now = time.thread_time if alone else time.perf_counter
        self.begun = self.now()

    def lap(self) -> Lap:
        """Seconds since the last lap."""
        if self.on.type == "cuda":
            torch.cuda.synchronize(self.on)
        begun, self.begun = self.begun, self.now()
        return Lap(self.begun - begun)


def of_stages(method: Method, training: TrainConfig, image: tuple[int, ...]) -> list[StageLap]:
    """Seconds of each stage by itself in a step of `training.micro_batch` images.

    Args:
        method: of as many modules as there are stages, in train mode on its device; BatchNorm
            counts the passes.
        training: has batch size and precision.
        image: shape of one image (C, H, W).
    """
    on = next(method.parameters()).device

    def measure(size: int) -> list[float]:
        batch = a_batch(method.task, image, size, on)
        laps = stage_laps(method.trunk, batch, training, Stopwatch(on))
        return [seconds for lap in laps for seconds in (lap.forward.cost, lap.backward.cost)]

    each = _at(measure, training.micro_batch)
    passes = zip(each[::2], each[1::2], strict=True)
    return [StageLap(0, Lap(forward), Lap(backward), 0) for forward, backward in passes]


def of_losses(
    method: Method, training: TrainConfig, image: tuple[int, ...]
) -> dict[int, tuple[int, Lap]]:
    """Seconds of each module with its losses in a step of `training.micro_batch` images; arguments
    as of `of_stages`, but for any number of modules."""
    on = next(method.parameters()).device
    found: dict[int, tuple[int, Lap]] = {}

    def measure(size: int) -> list[float]:
        batch = a_batch(method.task, image, size, on)
        found.update(loss_laps(method, batch, training, Stopwatch(on)))
        return [lap.cost for _, lap in found.values()]

    seconds = _at(measure, training.micro_batch)
    return {k: (0, Lap(cost)) for k, cost in zip(found, seconds, strict=True)}


def of_update(method: Method, training: TrainConfig) -> float:
    """Seconds in which the optimiser moves a parameter, per byte."""
    optimizers = ModuleOptimizers(method, training.model_copy(update={"step_in_backward": False}))
    watch, seconds = Stopwatch(next(method.parameters()).device), []
    for _ in range(1 + REPEATS):
        for parameter in method.parameters():
            parameter.grad = torch.zeros_like(parameter)
        watch.lap()
        optimizers.step()
        seconds.append(watch.lap().cost)
    method.zero_grad(set_to_none=True)
    return min(seconds[1:]) / sum(p.nbytes for p in method.parameters())


def _at(measure: Callable[[int], Sequence[float]], batch: int) -> list[float]:
    """Seconds with so many images, on the line through what two batch sizes take."""
    few, many = (
        [min(times) for times in zip(*[measure(n) for _ in range(1 + REPEATS)][1:], strict=True)]
        for n in SIZES
    )
    a, b = SIZES
    return [
        more + max(0.0, more - less) / (b - a) * (batch - b)
        for less, more in zip(few, many, strict=True)
    ]
