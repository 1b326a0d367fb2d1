"""What torch's own counter says of a net, for tests to hold against closed forms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def macs(
    net: nn.Module, shape: tuple[int, ...], run: Callable[[torch.Tensor], object] | None = None
) -> float:
    """Multiply-accumulates of a forward pass of one image or feature; of `run`, a method of the
    net, if given. The net loses its data."""
    net.to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        (run or net)(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops() / 2
