"""What a net is trained for: the loss of its last module and the error that is reported."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Classification:
    """One label per image."""

    classes: int

    @property
    def outputs(self) -> int:
        """Number of scores a classifier gives."""
        return self.classes

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy in nats of scores (B C) against labels (B)."""
        return F.cross_entropy(scores, y)

    def wrong(self, scores: Tensor, y: Tensor) -> Tensor:
        """Number of images whose largest score is not their label's, as a scalar tensor."""
        return (scores.argmax(1) != y).sum()
