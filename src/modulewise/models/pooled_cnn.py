"""The CNN of synthetic gradients (Jaderberg et al., arXiv 1608.05343) as eugenium/DGL trains it on
CIFAR-10: `cnn3x128-pool3` has three layers of 128 channels, each a 5x5 convolution, BatchNorm, ReLU
and 3x3 pooling, of maxima in the first layer and means in the others, which drops what is left.

Layers are stages named `1`, `2`, ...; the last stage, `flat`, has no weights: behind it stands the
linear classifier, which can be a module of its own (K = 4). Library-default initialisation.
"""

from __future__ import annotations

import re

from torch import nn

from modulewise.models.network import Network, Shape

PATTERN = r"cnn(\d+)x(\d+)-pool3"
EXAMPLES = ["cnn3x128-pool3"]


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """Convolutions 5x5, each with a pooling."""
    depth, width = int(match[1]), int(match[2])
    if not (1 <= depth <= 10 and 1 <= width <= 4096):
        raise ValueError("1 to 10 layers of 1 to 4096 channels")
    h, w = (side // 3**depth for side in image[1:])
    if not (h and w):
        raise ValueError(f"{depth} poolings need images of {3**depth} pixels a side at least")
    stages: list[tuple[str, nn.Module]] = [
        (str(i), _layer(width if i > 1 else image[0], width, first=i == 1))
        for i in range(1, depth + 1)
    ]
    return Network([*stages, ("flat", nn.Flatten())], nn.Linear(width * h * w, outputs), image)


def _layer(c_in: int, c_out: int, first: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 5, padding=2, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(),
        nn.MaxPool2d(3) if first else nn.AvgPool2d(3),
    )
