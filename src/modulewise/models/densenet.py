"""DenseNet-BC for small images: `densenet100-12` has depth 100 and growth rate 12 (Huang et al.,
arXiv 1608.06993, section 3).

A 3x3 convolution to 2k channels, three dense blocks of n layers each at depth 6n+4, transitions
between them, then BatchNorm, ReLU, global average pooling and the classifier. A layer is BatchNorm,
ReLU, 1x1 convolution to 4k channels, BatchNorm, ReLU, 3x3 convolution to k, whose maps are appended
to the layer's input; a transition is BatchNorm, ReLU, 1x1 convolution to half the channels, 2x2
average pooling. Poolings round up, so that tiny images pass; at even sizes that changes nothing.
Convolutions start from N(0, 2 / (k k C_out)), BatchNorm from 1 and 0, the classifier from the
library's default. No dropout, as in the paper's augmented runs.

Stages are the stem, named `0.0`, every layer, named `block.layer` (`1.0` to `3.<n-1>`), and the
transitions, `1.t` and `2.t`. What leaves a stage are all maps of the block so far, before the next
BatchNorm and ReLU.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from modulewise.models.network import Network, Shape
from modulewise.models.normed import Normed
from modulewise.models.start import draw_convolutions

PATTERN = r"densenet(\d+)-(\d+)"
EXAMPLES = ["densenet40-12", "densenet100-12", "densenet250-24"]


class Layer(Normed):
    """Bottleneck and 3x3 convolution, each after BatchNorm and ReLU; the new maps go behind the old
    ones."""

    def __init__(self, c: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c)
        self.conv1 = nn.Conv2d(c, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C+k H W."""
        y = self.normed(self.bn1, self.conv1, x)
        return torch.cat([x, self.normed(self.bn2, self.conv2, y)], 1)


class Transition(nn.Sequential, Normed):
    """BatchNorm, ReLU, 1x1 convolution to half the channels, average pooling."""

    def __init__(self, c: int) -> None:
        super().__init__(
            nn.BatchNorm2d(c),
            nn.ReLU(inplace=True),
            nn.Conv2d(c, c // 2, 1, bias=False),
            nn.AvgPool2d(2, ceil_mode=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C/2 H/2 W/2."""
        norm, _, shrink, pool = self
        return pool(self.normed(norm, shrink, x))


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A DenseNet-BC of depth 6n+4."""
    depth, growth = int(match[1]), int(match[2])
    if depth % 6 != 4 or not 10 <= depth <= 1204:
        raise ValueError("the depth must be 6n+4: 10, 16, 22, ..., 40, ..., 100, ..., 250")
    if not 1 <= growth <= 512:
        raise ValueError("a growth rate of 1 to 512")
    n, c = depth // 6, 2 * growth
    stages: list[tuple[str, nn.Module]] = [("0.0", nn.Conv2d(image[0], c, 3, 1, 1, bias=False))]
    for b in (1, 2, 3):
        for i in range(n):
            stages.append((f"{b}.{i}", Layer(c, growth)))
            c += growth
        if b < 3:
            stages.append((f"{b}.t", Transition(c)))
            c //= 2
    head = nn.Sequential(
        nn.BatchNorm2d(c),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(c, outputs),
    )
    return draw_convolutions(Network(stages, head, image))
