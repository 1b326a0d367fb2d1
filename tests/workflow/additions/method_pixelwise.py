"""Pixelwise: every module has a 1x1 convolution that gives its own map of scores; where targets are
labels, their mean over pixels.

    L_k = CE( a_k(h_k), y ),   h_k = f_k( stop_gradient(h_{k-1}) )

Deviations: none, it is made up.
"""

from __future__ import annotations

from torch import Tensor, nn

from modulewise.config.types import Positive
from modulewise.method import Batch, LocalMethod
from modulewise.models.network import CutNetwork


class Pixelwise(LocalMethod):
    """Local maps.

    Args:
        trunk: the network, cut.
        weight: of the local losses.
    """

    def __init__(self, trunk: CutNetwork, *, weight: Positive = 1.0) -> None:
        super().__init__(trunk)
        self.weight, outputs = weight, self.task.outputs
        self.maps = self.task.placeholder(1, trunk.image, "cpu").dim() > 1
        self.heads = nn.ModuleList(nn.Conv2d(s[0], outputs, 1) for s in trunk.cut_shapes)

    def scores(self, k: int, h: Tensor) -> Tensor:
        """Scores of every pixel (B outputs H W), or of the image (B outputs)."""
        scores = self.heads[k](h)
        return scores if self.maps else scores.mean((2, 3))

    def local_loss(self, k: int, h: Tensor, batch: Batch) -> Tensor:
        """The task's loss of the map."""
        return self.weight * self.task.loss(self.scores(k, h), batch.y)
