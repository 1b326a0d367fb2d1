"""What a net is trained for: a loss, and a metric that is counted over a split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from modulewise.runs.result import PrimaryMetric


class Metric(Protocol):
    """A figure of a whole split, counted batch by batch.

    The attributes that a tuple `sums` of the class names, or all if there is none, are sums over
    batches, numbers or tensors: those of several processes add up (`engine.distributed.add_up`).
    """

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch."""

    def compute(self) -> float:
        """The figure of all that was counted."""


class Counted(NamedTuple):
    """A metric and its counter."""

    metric: PrimaryMetric
    counter: Metric


Counters = Sequence[Counted]
"""Some metrics that count the same outputs."""


class Task(Protocol):
    """A task of a data set; what its targets look like is its own affair. A task may have a method
    `secondary` too (see there).

    Attributes:
        outputs: number of scores, or channels, that a network's head gives.
        metric: name, unit and direction of what `counter` counts.
    """

    @property
    def outputs(self) -> int:
        """Number of scores, or channels, that a network's head gives."""

    @property
    def metric(self) -> PrimaryMetric:
        """The primary metric: its name, unit, and which direction is better."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Scalar loss of a batch of outputs."""

    def counter(self) -> Metric:
        """A counter of the primary metric, at zero."""

    def placeholder(self, n: int, image: tuple[int, ...], device: torch.device | str) -> Tensor:
        """Targets of n images of that shape (C, H, W), to count operations or time steps with."""


@runtime_checkable
class Dense(Task, Protocol):
    """A task of a class for every pixel, whose nets can be evaluated at several scales."""

    def probabilities(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Class probabilities at the targets' size (B C H W) of scores (B C h w)."""


def secondary(task: Task) -> Counters:
    """Counters, at zero, of the metrics beside the primary one: what the task's own method
    `secondary` gives; none of a task that has no such method. They count the net's own outputs on
    test images; nothing is chosen by them."""
    made: Counters = task.secondary() if hasattr(task, "secondary") else []
    return made


def class_labels(task: Task, image: tuple[int, ...]) -> bool:
    """Whether targets are one class label per image.

    Args:
        task: the task.
        image: shape of an image (C, H, W).
    """
    targets = task.placeholder(2, image, "meta")
    return targets.dim() == 1 and not targets.is_floating_point()


def label_maps(task: Task, image: tuple[int, ...]) -> bool:
    """Whether targets are one map of labels per image (B H W); arguments as of `class_labels`."""
    targets = task.placeholder(2, image, "meta")
    return targets.dim() == 3 and not targets.is_floating_point()


def need_class_labels(task: Task, image: tuple[int, ...], what: str) -> None:
    """Refuse a task of other targets.

    Args:
        task: the task.
        image: shape of an image (C, H, W).
        what: what needs them, for the message.

    Raises:
        ValueError: targets are not one class label per image.
    """
    if not class_labels(task, image):
        raise ValueError(f"{what} needs one class label per image; this task has none")
