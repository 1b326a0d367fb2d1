"""ResNet-18 for small images, cut before its nonlinearities (modular training on pairs, arXiv
2005.05541): `resnet18-pre`; `resnet18-pre-w8` starts at 8 channels instead of 64.

The function is that of the common ResNet-18 with a 3x3 stem at stride 1: four groups of two
post-activation basic blocks of 64, 128, 256 and 512 channels, the last three starting at stride 2;
projection shortcuts (1x1 convolution and BatchNorm) where the shape changes. Only the ReLU that
ends a stage is counted to the next one, so that every stage gives pre-activations. In kerNET, the
authors' code, the last block alone ends so; at the other cuts relu and reapen are the same before
and behind a ReLU. Initialisation is the library's default.

Before the linear classifier features are ReLUs, averaged over 4x4 windows and scaled to unit length
(`reapen` of `models/phi.py`). That is a stage of its own without parameters, so that a cut can
leave the last module with nothing else to learn than the classifier.

Stages are the stem, `0.0`, the blocks, `1.0`, `1.1`, ..., `4.1`, and `phi`.
"""

from __future__ import annotations

import math
import re

import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.models.basic_block import BasicBlock
from modulewise.models.network import Network, Shape
from modulewise.models.phi import Phi

PATTERN = r"resnet18-pre(?:-w(\d+))?"
EXAMPLES = ["resnet18-pre", "resnet18-pre-w8"]


class Block(BasicBlock):
    """A ReLU before both ways."""

    def branch(self, x: Tensor) -> Tensor:
        """The two convolutions of the activations."""
        return self.convolutions(F.relu(x))

    def join(self, x: Tensor, added: Tensor) -> Tensor:
        """Add the shortcut of the activations."""
        return added + self.shortcut(F.relu(x))

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H' W'; the activations are computed and kept once."""
        a = F.relu(x)
        return self.convolutions(a) + self.shortcut(a)


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A ResNet-18."""
    base = int(match[1] or 64)
    if not 1 <= base <= 4096:
        raise ValueError("1 to 4096 channels")
    stem = nn.Sequential(nn.Conv2d(image[0], base, 3, 1, 1, bias=False), nn.BatchNorm2d(base))
    stages: list[tuple[str, nn.Module]] = [("0.0", stem)]
    c = base
    for group in range(4):
        for b in range(2):
            width = base * 2**group
            stages.append((f"{group + 1}.{b}", Block(c, width, 2 if b == 0 and group else 1)))
            c = width
    stages.append(("phi", Phi("reapen")))
    sides = [math.ceil(math.ceil(side / 8) / 4) for side in image[1:]]
    head = nn.Linear(c * math.prod(sides), outputs)

    def layer(feature: Shape, i: int) -> nn.Module:
        if i == len(stages) - 1:
            return Phi("reapen")
        group = max(0, i - 1) // 2  # how often the stage's maps have been halved
        larger = any(
            a > math.ceil(b / 2**group) for a, b in zip(feature[1:], image[1:], strict=True)
        )
        return Block(feature[0], base * 2**group, 2 if larger else 1)

    return Network(stages, head, image, layer)
