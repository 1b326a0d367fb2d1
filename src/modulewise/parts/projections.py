"""Fixed random matrices from the net's outputs to a feature: what carries errors or labels to a
module that no gradient reaches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from modulewise.models.network import Shape


class Projection(nn.Module):
    """B, drawn from the uniform distribution on [-c, c] / sqrt(n), n the numbers of a feature; a
    buffer that no step moves.

    Args:
        outputs: number of scores; B has a row for each.
        feature: shape of one feature, (C, H, W) or (C,).
        bound: c.

    Example:
        >>> Projection(10, (16, 4, 4))(torch.ones(2, 10)).shape
        torch.Size([2, 16, 4, 4])
    """

    matrix: Tensor

    def __init__(self, outputs: int, feature: Shape, bound: float = 1.0) -> None:
        super().__init__()
        n = math.prod(feature)
        self.feature = feature
        self.register_buffer("matrix", torch.empty(outputs, n).uniform_(-bound, bound) / n**0.5)

    def forward(self, e: Tensor) -> Tensor:
        """One number per score (B outputs) -> B and the feature's shape: B^T e."""
        return (e.to(self.matrix.dtype) @ self.matrix).view(-1, *self.feature)

    def of_labels(self, y: Tensor) -> Tensor:
        """Labels (B) -> B and the feature's shape: B^T of the one-hot label, the label's row."""
        return self.matrix[y].view(-1, *self.feature)
