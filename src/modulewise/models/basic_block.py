"""The basic block of ResNets (He et al., arXiv 1512.03385): two 3x3 convolutions and a shortcut;
families differ in where the ReLUs stand."""

from __future__ import annotations

from torch import Tensor, nn

from modulewise.models.network import Residual
from modulewise.models.normed import Normed


class BasicBlock(Normed, Residual):
    """Two 3x3 convolutions around an identity or projection shortcut.

    Args:
        c_in: channels of the input.
        c_out: channels of the output.
        stride: of the first convolution and of a projection.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def convolutions(self, x: Tensor) -> Tensor:
        """Convolution, BatchNorm, ReLU, convolution, BatchNorm (B C' H' W')."""
        return self.bn2(self.normed(self.bn1, self.conv2, self.conv1(x)))
