"""VGG8b of Nøkland and Eidnes (arXiv 1901.06656): six 3x3 convolutions, four poolings, one hidden layer; no dropout.

`vgg8b` starts at 128 channels; `vgg8b-w32` at 32, the hidden layer in proportion. Every convolution (with BatchNorm, ReLU
and the pooling that follows it) and the hidden layer is a stage, named `1` to `7`. Poolings round up, so that images smaller than
16 pixels pass; at 32 pixels that changes nothing. Library-default initialisation.
"""

from __future__ import annotations

import math
import re

from torch import nn

from ..network import Network, Shape

PATTERN = r"vgg8b(?:-w(\d+))?"
EXAMPLES = ["vgg8b", "vgg8b-w32"]
_PLAN = ((1, False), (2, True), (2, False), (4, True), (4, True), (4, True))  # width as a multiple, pooling after it


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A VGG8b."""
    base = int(match[1] or 128)
    if not 1 <= base <= 4096:
        raise ValueError("1 to 4096 channels")
    stages: list[tuple[str, nn.Module]] = []
    c, h, w = image
    for i, (multiple, pool) in enumerate(_PLAN, start=1):
        layers: list[nn.Module] = [nn.Conv2d(c, base * multiple, 3, 1, 1), nn.BatchNorm2d(base * multiple), nn.ReLU()]
        if pool:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            h, w = math.ceil(h / 2), math.ceil(w / 2)
        c = base * multiple
        stages.append((str(i), nn.Sequential(*layers)))
    hidden = 8 * base
    stages.append(("7", nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, hidden), nn.BatchNorm1d(hidden), nn.ReLU())))
    return Network(stages, nn.Linear(hidden, outputs), image)
