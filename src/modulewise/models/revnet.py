"""Reversible ResNets for small images, depth 12m+2 (Gomez et al., The Reversible Residual Network,
arXiv 1707.04585): `revnet38` has the parameters of `resnet32`, `revnet110` those of `resnet110`.

Three groups of m units. A unit couples the two halves of its channels (`models/coupling.py`); f and
g are BatchNorm, ReLU, 3x3 convolution, twice. The first unit of the second and of the third group
halves the maps and changes the channels, and cannot be inverted; all other units can. The stem is a
3x3 convolution with BatchNorm and ReLU, the head BatchNorm, ReLU, mean over pixels and a linear
classifier. Convolutions start as in `models/resnet_cifar.py`. Channels are 32, 32, 64 and 112, from
depth 110 on 128 in the last group, as the paper has them for its depths 38 and 110.

Stages are the stem, `0.0`, and the units, `1.0` to `3.<m-1>`.

Deviations from the paper:

1. Shortcuts where the shape changes are projections (1x1 convolution and BatchNorm), one for each
   half, as in our ResNets.
2. Only depths 38 and 110 are the paper's; the others have the channels of 38, or of 110 if deeper.
"""

from __future__ import annotations

import re

from torch import nn

from modulewise.models.coupling import Coupling
from modulewise.models.network import Network, Shape
from modulewise.models.start import draw_convolutions

PATTERN = r"revnet(\d+)"
EXAMPLES = ["revnet14", "revnet26", "revnet38", "revnet110"]


def _residual(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(c_in),
        nn.ReLU(inplace=True),
        nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False),
    )


def _projection(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


def _unit(c_in: int, c_out: int, stride: int) -> Coupling:
    """A unit of halves of so many channels."""
    f, g = _residual(c_in, c_out, stride), _residual(c_out, c_out, 1)
    if stride == 1 and c_in == c_out:
        return Coupling(f, g)
    return Coupling(f, g, (_projection(c_in, c_out, stride), _projection(c_in, c_out, stride)))


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A RevNet of depth 12m+2."""
    depth = int(match[1])
    if depth % 12 != 2 or not 14 <= depth <= 1202:
        raise ValueError("the depth must be 12m+2: 14, 26, 38, ..., 110")
    stem = nn.Sequential(
        nn.Conv2d(image[0], 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)
    )
    stages: list[tuple[str, nn.Module]] = [("0.0", stem)]
    c = 32
    for group, width in enumerate((32, 64, 128 if depth >= 110 else 112), start=1):
        for unit in range(depth // 12):
            halves = unit == 0 and group > 1
            stages.append((f"{group}.{unit}", _unit(c // 2, width // 2, 2 if halves else 1)))
            c = width
    head = nn.Sequential(
        nn.BatchNorm2d(c),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(c, outputs),
    )
    return draw_convolutions(Network(stages, head, image))
