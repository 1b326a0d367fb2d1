"""Learnt maps from the feature behind a module back to the feature before it: one affine layer, and
where features are bounded the tanh that bounds them.

Maps of the same or another size are resized to the nearest pixel and convolved by 3x3; what is no
map, or shall become one, goes through a linear layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from modulewise.models.network import Shape
from modulewise.parts.precision import in_fp32, unrounded


class Inverse(nn.Module):
    """A feature (B after) to one of shape (B before), in fp32 at least: what is made of it are
    small differences.

    Weights are kept divided by `rate` and multiplied where they are used. With a loss divided by
    `rate` too, the optimiser moves what is used at `rate` times its own learning rate, under SGD
    (momentum included) and but for its epsilon under Adam. Weight decay keeps its own rate.

    Args:
        after: shape of what it is given.
        before: shape of what it gives.
        bias: whether the layer has one; without a tanh a difference of two results never sees it.
        tanh: whether what it gives is bounded.
        rate: factor of the learning rate.

    Example:
        >>> Inverse((32, 4, 4), (16, 8, 8))(torch.zeros(2, 32, 4, 4)).shape
        torch.Size([2, 16, 8, 8])
    """

    def __init__(
        self,
        after: Shape,
        before: Shape,
        bias: bool = True,
        tanh: bool = False,
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.rate, self.tanh = rate, tanh
        if len(after) == len(before) == 3:
            self.layers = nn.Sequential(
                nn.Upsample(before[1:]), nn.Conv2d(after[0], before[0], 3, padding=1, bias=bias)
            )
        else:
            self.layers = nn.Sequential(
                nn.Flatten(),
                nn.Linear(math.prod(after), math.prod(before), bias=bias),
                nn.Unflatten(1, before),
            )
        with torch.no_grad():
            for p in self.parameters():
                p.div_(rate)

    def forward(self, h: Tensor) -> Tensor:
        """B after -> B before."""
        with unrounded(h):
            found = self.rate * self.layers(in_fp32(h))
        return found.tanh() if self.tanh else found
