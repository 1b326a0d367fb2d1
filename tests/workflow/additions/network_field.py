"""Fields: `field3` has three 3x3 convolutions that keep the size, and gives a map of scores."""

from __future__ import annotations

import re

from torch import nn

from modulewise.models.network import Network, Shape

PATTERN = r"field(\d+)"
EXAMPLES = ["field3"]
DENSE = True


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A field of that depth, eight channels wide."""
    depth = int(match[1])
    if not 1 <= depth <= 100:
        raise ValueError("1 to 100 convolutions")
    sizes = [image[0]] + [8] * depth
    stages: list[tuple[str, nn.Module]] = [
        (str(i), nn.Sequential(nn.Conv2d(sizes[i - 1], 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU()))
        for i in range(1, depth + 1)
    ]
    return Network(stages, nn.Conv2d(8, outputs, 1), image)
