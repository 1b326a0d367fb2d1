"""Average pooling: to a given size, and to one that a linear layer can bear, as in the released
code of Nøkland and Eidnes (arXiv 1901.06656)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.models.network import Shape


class ToSize(nn.Module):
    """Average pooling of maps to a given height and width. torch's own adds gradients on a GPU in
    no fixed order; where kernels must be deterministic two products with `windows` take its place.

    Args:
        size: height and width of what is left.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, h: Tensor) -> Tensor:
        """B C H W -> B C and the size."""
        if not (h.is_cuda and torch.are_deterministic_algorithms_enabled()):
            return F.adaptive_avg_pool2d(h, self.size)
        rows, columns = (windows(n, m, h) for n, m in zip(h.shape[2:], self.size, strict=True))
        return rows @ h @ columns.T


def windows(n: int, m: int, like: Tensor) -> Tensor:
    """The matrix (m, n) that averages n neighbours to m: window i is of those from floor(i n / m)
    to ceil((i + 1) n / m).

    Args:
        n: how many there are.
        m: how many are left.
        like: has the matrix's device and type.
    """
    i, at = torch.arange(m, device=like.device)[:, None], torch.arange(n, device=like.device)
    inside = ((at >= i * n // m) & (at < -(-(i + 1) * n // m))).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def kernel(feature: Shape, most: int) -> tuple[int, int]:
    """The smallest kernel that leaves at most so many numbers of one feature (C, H, W): height and
    width are doubled in turn, height first, until they fit or a pixel is left.

    Example:
        >>> kernel((128, 32, 32), 2048), kernel((512, 4, 4), 4096)
        ((8, 8), (2, 1))
    """
    c, *size = feature
    sides = [1, 1]
    turn = 0
    while c * math.prod(left := _left(size, sides)) > most and left != [1, 1]:
        sides[turn] *= 2
        turn = 1 - turn
    return sides[0], sides[1]


def flattened(feature: Shape, most: int) -> tuple[nn.Sequential, int]:
    """Layers that pool and flatten a feature to at most so many numbers, where its channels allow,
    and how many those are.

    Args:
        feature: shape of one feature, (C, H, W) or (C,); a flat one stays as it is.
        most: how many numbers may be left.

    Example:
        >>> flattened((128, 32, 32), 2048)[1]
        2048
    """
    if len(feature) == 1:
        return nn.Sequential(), feature[0]
    sides = kernel(feature, most)
    pool = [] if sides == (1, 1) else [nn.AvgPool2d(sides, ceil_mode=True)]
    return (
        nn.Sequential(*pool, nn.Flatten()),
        feature[0] * math.prod(_left(feature[1:], sides)),
    )


def _left(size: Shape | list[int], sides: tuple[int, ...] | list[int]) -> list[int]:
    """Height and width after pooling; what does not divide is a window of its own."""
    return [math.ceil(a / b) for a, b in zip(size, sides, strict=True)]
