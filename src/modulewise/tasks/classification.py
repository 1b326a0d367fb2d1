"""One label per image: cross-entropy, and the error in percent; with more than 20 classes, also the
share of images whose label is not among the five largest scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise.runs.result import PrimaryMetric
from modulewise.task import Counted

TOP5 = PrimaryMetric(name="top5_error", label="test top-5 error")
MANY = 20
"""With more classes than these the top-5 error is counted."""


class Error:
    """Percentage of images whose largest score is not their label's."""

    sums = ("wrong", "images")

    def __init__(self) -> None:
        self.wrong: Tensor | int = 0
        self.images = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count scores (B C) against labels (B)."""
        self.wrong = self.wrong + (outputs.argmax(1) != targets).sum()
        self.images += len(targets)

    def compute(self) -> float:
        """Percent."""
        return 100 * float(self.wrong) / self.images


class TopError(Error):
    """Percentage of images whose label is not among the n largest scores.

    Args:
        n: number of scores, at most all.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count scores (B C) against labels (B)."""
        found = (outputs.topk(self.n, 1).indices == targets[:, None]).any(1)
        self.wrong = self.wrong + (~found).sum()
        self.images += len(targets)


@dataclass(frozen=True)
class Classification:
    """One label per image."""

    classes: int

    @property
    def outputs(self) -> int:
        """Number of scores a classifier gives."""
        return self.classes

    @property
    def metric(self) -> PrimaryMetric:
        """The error in percent."""
        return PrimaryMetric()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats of scores (B C) against labels (B)."""
        return F.cross_entropy(outputs, targets)

    def counter(self) -> Error:
        """A counter of the error."""
        return Error()

    def secondary(self) -> list[Counted]:
        """The top-5 error of many classes."""
        return [Counted(TOP5, TopError(5))] if self.classes > MANY else []

    def placeholder(self, n: int, image: tuple[int, ...], device: torch.device | str) -> Tensor:
        """Labels 0, 1, 2, ... in turn (n)."""
        return torch.arange(n, device=device) % self.classes
