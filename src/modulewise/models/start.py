"""How convolutions start in the papers' networks for small images."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def draw_convolutions(net: M) -> M:
    """Draw the weights of all convolutions in a module from N(0, 2 / (k k C_out)); gives it
    back."""
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            fan = m.kernel_size[0] * m.kernel_size[1] * m.out_channels
            nn.init.normal_(m.weight, 0.0, math.sqrt(2 / fan))
    return net


def library_default(net: M) -> M:
    """Draw the weights of all convolutions in a module as the library does; gives it back."""
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            m.reset_parameters()
    return net
