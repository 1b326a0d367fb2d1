"""ResNets for small images, depth 6n+2 (He et al., arXiv 1512.03385, section 4.2), as InfoPro and
ContSup train them.

Post-activation basic blocks, projection shortcuts (1x1 convolution and BatchNorm) where the shape
changes; widths 16, 32, 64. Convolutions start from N(0, 2 / (k k C_out)), BatchNorm from 1 and 0,
the classifier from the library's default. Stages are the stem, named `0.0`, and every block, named
`stage.block` as in the papers: `1.0` to `3.<n-1>`.
"""

from __future__ import annotations

import math
import re

import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.models.basic_block import BasicBlock
from modulewise.models.network import Network, Shape
from modulewise.models.start import draw_convolutions

PATTERN = r"resnet(\d+)"
EXAMPLES = ["resnet8", "resnet14", "resnet20", "resnet32", "resnet56", "resnet110"]


class Block(BasicBlock):
    """A ReLU after the sum."""

    def branch(self, x: Tensor) -> Tensor:
        """The two convolutions."""
        return self.convolutions(x)

    def join(self, x: Tensor, added: Tensor) -> Tensor:
        """Add the shortcut."""
        return F.relu(added + self.shortcut(x), inplace=True)


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A ResNet of depth 6n+2."""
    depth = int(match[1])
    if depth % 6 != 2 or not 8 <= depth <= 1202:
        raise ValueError("the depth must be 6n+2: 8, 14, 20, 26, 32, ..., 110")
    n = depth // 6
    stem = nn.Sequential(
        nn.Conv2d(image[0], 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
    )
    stages: list[tuple[str, nn.Module]] = [("0.0", stem)]
    width = 16
    for s, c in enumerate((16, 32, 64), start=1):
        for b in range(n):
            stages.append((f"{s}.{b}", Block(width, c, 2 if b == 0 and s > 1 else 1)))
            width = c
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, outputs))

    def layer(feature: Shape, i: int) -> nn.Module:
        s = max(0, i - 1) // n  # 0, 1, 2: how often the stage's maps have been halved
        larger = any(a > math.ceil(b / 2**s) for a, b in zip(feature[1:], image[1:], strict=True))
        return draw_convolutions(Block(feature[0], 16 * 2**s, 2 if larger else 1))

    return draw_convolutions(Network(stages, head, image, layer))
