"""A class for every pixel, some pixels without a label: cross-entropy at the labels' size, and mean
intersection over union.

Scores are resized to the labels bilinearly. Two habits of averaging are those of InfoPro's released
code (arXiv 2101.10832, with mmsegmentation 0.10), for they set the balance between modules:

- scores of a module's own head (C channels): aligned corners, the mean over pixels with a label;
- a net's scores with auxiliary ones behind them (2 C channels): corners not aligned, and

      L = CE(scores) + 0.4 CE(auxiliary scores)

  both means over all pixels, where those without a label count as zero loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise.errors import InvalidInput
from modulewise.runs.result import PrimaryMetric

IGNORED = 255
"""Value of pixels without a label."""
AUXILIARY = 0.4
"""Weight of the auxiliary scores' loss."""


class MeanIoU:
    """Mean over classes of intersection / union, both summed over all pixels of a split; counted on
    the device.

    Pixels without a label do not count, nor do classes that neither labels nor predictions have.

    Args:
        classes: their number.

    Attributes:
        pairs: number of pixels by label and predicted class (C C).
    """

    def __init__(self, classes: int) -> None:
        self.pairs = torch.zeros(classes, classes, dtype=torch.long)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count scores (B C h w), resized to the labels, against labels (B H W); image by image,
        for a map of scores at the labels' size is large."""
        for scores, labels in zip(outputs.split(1), targets.split(1), strict=True):
            self.count(resized(scores, labels, align_corners=False).argmax(1), labels)

    def count(self, classes: Tensor, targets: Tensor) -> None:
        """Count predicted classes (B H W) against labels (B H W)."""
        c = len(self.pairs)
        pairs = torch.where(targets == IGNORED, c * c, targets * c + classes).flatten()
        counted = torch.bincount(pairs, minlength=c * c + 1)[: c * c].view(c, c)
        self.pairs = self.pairs.to(counted.device) + counted

    def compute(self) -> float:
        """Percent.

        Raises:
            InvalidInput: no pixel has a label.
        """
        pairs = self.pairs.double().cpu()
        if not pairs.any():
            raise InvalidInput(f"mIoU: every pixel is {IGNORED}, none has a label")
        hit = pairs.diagonal()
        union = pairs.sum(0) + pairs.sum(1) - hit
        there = union > 0
        return 100 * float((hit[there] / union[there]).mean())


@dataclass(frozen=True)
class Segmentation:
    """A class for every pixel; targets are maps (B H W) of 0 ... C-1, and 255 where there is no
    label."""

    classes: int

    def __post_init__(self) -> None:
        if self.classes > IGNORED:
            raise InvalidInput(
                f"segmentation: {self.classes} classes, and {IGNORED} is the value of pixels "
                f"without a label; valid: 2 to {IGNORED}"
            )

    @property
    def outputs(self) -> int:
        """Number of channels of a map of scores."""
        return self.classes

    @property
    def metric(self) -> PrimaryMetric:
        """Mean intersection over union in percent, the higher the better."""
        return PrimaryMetric(name="miou", label="test mIoU", unit="%", direction="higher")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Scalar loss in nats.

        Args:
            outputs: scores (B C h w), or with auxiliary ones behind them (B 2C h w).
            targets: labels (B H W).
        """
        if outputs.shape[1] == self.classes:
            labelled = (targets != IGNORED).sum().clamp(min=1)
            return _entropy(outputs, targets, align_corners=True) / labelled
        scores, auxiliary = outputs.split(self.classes, 1)
        total = _entropy(scores, targets, False) + AUXILIARY * _entropy(auxiliary, targets, False)
        return total / targets.numel()

    def counter(self) -> MeanIoU:
        """A counter of mean IoU."""
        return MeanIoU(self.classes)

    def probabilities(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Class probabilities at the labels' size (B C H W) of a net's scores (B C h w)."""
        return resized(outputs, targets, align_corners=False).softmax(1)

    def placeholder(self, n: int, image: tuple[int, ...], device: torch.device | str) -> Tensor:
        """Maps of labels (n H W): 0, 1, 2, ... in turn, one an image."""
        labels = torch.arange(n, device=device) % self.classes
        return labels[:, None, None].repeat(1, *image[1:])


def resized(scores: Tensor, targets: Tensor, align_corners: bool) -> Tensor:
    """Scores (B C h w) at the size of labels (B H W), bilinear."""
    if scores.shape[2:] == targets.shape[1:]:
        return scores
    size = targets.shape[1:]
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=align_corners)


def _entropy(scores: Tensor, targets: Tensor, align_corners: bool) -> Tensor:
    """Sum of the cross-entropy over all pixels with a label."""
    full = resized(scores, targets, align_corners)
    return F.cross_entropy(full, targets, ignore_index=IGNORED, reduction="sum")
