"""Layers the helpers are built of."""

from __future__ import annotations

import math

from torch import Tensor, nn


def conv(
    c_in: int, c_out: int, kernel: int = 3, stride: int = 1, bias: bool = False
) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU; weights start from N(0, 2 / (k k C_out)) as in the papers'
    backbones."""
    layer = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=bias)
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / (kernel * kernel * c_out)))
    return nn.Sequential(layer, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class AsMap(nn.Module):
    """Gives flat features (B C) two spatial dimensions of size 1, so that every helper can stand on
    every stage."""

    def forward(self, h: Tensor) -> Tensor:
        """B C or B C H W -> B C H W."""
        return h if h.dim() == 4 else h[:, :, None, None]
