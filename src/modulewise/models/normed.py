"""Convolutions behind BatchNorm and ReLU, and who decides whether their input is kept."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

Run = Callable[[Tensor], Tensor]


def kept(run: Run, norm: nn.Module, x: Tensor) -> Tensor:
    """run(x); what it computes on its way to the last operation is kept for the backward pass."""
    return run(x)


class Normed(nn.Module):
    """A piece of a network with convolutions behind BatchNorm and ReLU.

    Attributes:
        runner: `kept`, or what computes BatchNorm and ReLU again in the backward pass.
    """

    runner = staticmethod(kept)

    def normed(self, norm: nn.Module, convolution: nn.Module, x: Tensor) -> Tensor:
        """Convolution of relu(norm(x)) (B C H W)."""
        return self.runner(lambda x: convolution(F.relu(norm(x), inplace=True)), norm, x)
