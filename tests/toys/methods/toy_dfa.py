"""Direct feedback alignment (Nøkland, arXiv 1609.01596): fixed random matrices carry the error at
the net's output to every module.

    module k learns from  < h_k, B_k e >,   e = dL / d scores,   B_k ~ N(0, 1 / outputs)

Deviations from the paper:

1. One feedback a module, not a layer: inside a module gradients are those of backpropagation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from modulewise.method import Batch, Loss, Method
from modulewise.models.network import CutNetwork, Shape


class Feedback(nn.Module):
    """B_k: errors (B outputs) to a feature's shape."""

    weight: Tensor

    def __init__(self, outputs: int, feature: Shape) -> None:
        super().__init__()
        weight = torch.randn(outputs, math.prod(feature)) / outputs**0.5
        self.register_buffer("weight", weight)

    def forward(self, error: Tensor) -> Tensor:
        """B outputs -> B features."""
        return error.to(self.weight.dtype) @ self.weight


class ToyDfa(Method):
    """Modules that learn from the projected error.

    Args:
        trunk: the network, cut.
    """

    joint_only = True
    feedback = "fixed"
    locked = "scores"

    def __init__(self, trunk: CutNetwork) -> None:
        super().__init__(trunk)
        outputs = trunk.task.outputs
        self.projections = nn.ModuleList(Feedback(outputs, s) for s in trunk.cut_shapes)

    @property
    def alive(self) -> int:
        """All: modules wait for the error."""
        return self.k

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """The last module's loss, which leaves the error, then all others'."""
        h, outputs = batch.x, []
        for module in self.trunk:
            h = module(h.detach())
            outputs.append(h)
        scores = outputs.pop()
        scores.retain_grad()
        yield Loss(
            self.task.loss(scores, batch.y), self.of_module(self.k - 1), f"module_{self.k - 1}"
        )
        for k, h in enumerate(outputs):
            carried = (h * self.projections[k](scores.grad).view_as(h)).sum()
            yield Loss(carried, self.of_module(k), f"module_{k}", surrogate=True)
