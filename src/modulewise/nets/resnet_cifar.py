"""ResNets for small images, depth 6n+2 (He et al., arXiv 1512.03385, section 4.2), as InfoPro and ContSup train them.

Post-activation basic blocks, projection shortcuts (1x1 convolution and BatchNorm) where the shape changes; widths 16, 32, 64.
Convolutions start from N(0, 2 / (k k C_out)), BatchNorm from 1 and 0, the classifier from the library's default.
Stages are the stem, named `0.0`, and every block, named `stage.block` as in the papers: `1.0` to `3.<n-1>`.
"""

from __future__ import annotations

import math
import re

import torch.nn.functional as F
from torch import Tensor, nn

from ..network import Network, Shape

PATTERN = r"resnet(\d+)"
EXAMPLES = [f"resnet{6 * n + 2}" for n in (1, 2, 3, 5, 9, 18)]


class Block(nn.Module):
    """Two 3x3 convolutions around an identity or projection shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H' W'."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A ResNet of depth 6n+2."""
    depth = int(match[1])
    if depth % 6 != 2 or not 8 <= depth <= 1202:
        raise ValueError("the depth must be 6n+2: 8, 14, 20, 26, 32, ..., 110")
    n = depth // 6
    stem = nn.Sequential(nn.Conv2d(image[0], 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
    stages: list[tuple[str, nn.Module]] = [("0.0", stem)]
    width = 16
    for s, c in enumerate((16, 32, 64), start=1):
        for b in range(n):
            stages.append((f"{s}.{b}", Block(width, c, 2 if b == 0 and s > 1 else 1)))
            width = c
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, outputs))
    net = Network(stages, head, image)
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.normal_(m.weight, 0.0, math.sqrt(2 / (m.kernel_size[0] * m.kernel_size[1] * m.out_channels)))
    return net
