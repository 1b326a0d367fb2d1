"""Regions: a class for every pixel; the metric is the mean intersection over union of the classes,
of all pixels of a split together: no mean over images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise.runs.result import PrimaryMetric


class MeanIoU:
    """Mean over classes of intersection / union, in percent."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.confusion = torch.zeros(classes, classes, dtype=torch.long)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count scores (B classes H W) against maps (B H W)."""
        pairs = targets.flatten() * self.classes + outputs.argmax(1).flatten()
        counted = torch.bincount(pairs, minlength=self.classes**2)
        self.confusion += counted.reshape(self.classes, -1).cpu()

    def compute(self) -> float:
        """Percent."""
        hit = self.confusion.diagonal().double()
        union = self.confusion.sum(0) + self.confusion.sum(1) - hit
        return 100 * float((hit / union).mean())


@dataclass(frozen=True)
class Regions:
    """A map of classes."""

    classes: int

    @property
    def outputs(self) -> int:
        """Number of channels of a map of scores."""
        return self.classes

    @property
    def metric(self) -> PrimaryMetric:
        """Mean IoU, the higher the better."""
        return PrimaryMetric(name="miou", label="test mIoU", unit="%", direction="higher")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy over pixels."""
        return F.cross_entropy(outputs, targets)

    def counter(self) -> MeanIoU:
        """A counter at zero."""
        return MeanIoU(self.classes)

    def placeholder(self, n: int, image: tuple[int, ...], device: torch.device | str) -> Tensor:
        """Maps of class 0 (n H W)."""
        return torch.zeros(n, *image[1:], dtype=torch.long, device=device)
