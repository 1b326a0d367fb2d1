"""VGG8b of Nøkland and Eidnes (arXiv 1901.06656): six 3x3 convolutions, four poolings, one hidden
layer; no dropout.

`vgg8b` starts at 128 channels; `vgg8b-w32` at 32, the hidden layer in proportion. Every convolution
(with BatchNorm, ReLU and the pooling that follows it) and the hidden layer is a stage, named `1` to
`7`. Poolings round up, so that images smaller than 16 pixels pass; at 32 pixels that changes
nothing. Library-default initialisation.
"""

from __future__ import annotations

import math
import re

from torch import nn

from modulewise.models.network import Network, Shape

PATTERN = r"vgg8b(?:-w(\d+))?"
EXAMPLES = ["vgg8b", "vgg8b-w32"]
_PLAN = (
    (1, False),
    (2, True),
    (2, False),
    (4, True),
    (4, True),
    (4, True),
)  # width as a multiple, pooling after it


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A VGG8b."""
    base = int(match[1] or 128)
    if not 1 <= base <= 4096:
        raise ValueError("1 to 4096 channels")
    stages: list[tuple[str, nn.Module]] = []
    c, h, w = image
    sizes = []  # after every convolution
    for i, (multiple, pool) in enumerate(_PLAN, start=1):
        stages.append((str(i), _convolution(c, base * multiple, pool)))
        c = base * multiple
        if pool:
            h, w = math.ceil(h / 2), math.ceil(w / 2)
        sizes.append((h, w))
    hidden = 8 * base
    stages.append(("7", nn.Sequential(nn.Flatten(), *_full(c * h * w, hidden))))

    def layer(feature: Shape, i: int) -> nn.Module:
        if i < len(_PLAN):
            return _convolution(feature[0], base * _PLAN[i][0], feature[1:] != sizes[i])
        pools, size = [], feature[1:] or (h, w)
        while size != (h, w):
            pools.append(_pool())
            size = tuple(math.ceil(a / 2) for a in size)
        return nn.Sequential(
            *pools,
            nn.Flatten(),
            *_full(feature[0] if len(feature) == 1 else feature[0] * h * w, hidden),
        )

    return Network(stages, nn.Linear(hidden, outputs), image, layer)


def _convolution(c_in: int, c_out: int, pool: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(c_in, c_out, 3, 1, 1), nn.BatchNorm2d(c_out), nn.ReLU()]
    return nn.Sequential(*layers, *([_pool()] if pool else []))


def _pool() -> nn.Module:
    return nn.MaxPool2d(2, ceil_mode=True)


def _full(units: int, hidden: int) -> list[nn.Module]:
    return [nn.Linear(units, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
