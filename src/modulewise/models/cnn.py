"""Plain CNNs as greedy layer-wise learning (Belilovsky et al., arXiv 1812.11446) and DGL (arXiv
1901.08164) train on CIFAR: 3x3 convolutions with BatchNorm and ReLU, each a stage named `1`, `2`,
...

`cnn6x128-d2.4` has six layers of 128 channels; before the second and the fourth, maps are halved by
max-pooling, which rounds up, and channels doubled. The classifier averages maps to 2x2 (to one
pixel, if they have one) and is BatchNorm and a linear layer; `cnn4x128-d3-h2` has two more
convolutions like the layers' before it. Library-default initialisation.

DGL's released code halves so. Layer-wise learning's halves by putting every 2x2 pixels into
channels, which makes the halving convolutions larger. Its runs: `cnn5x256-d3.4`, without BatchNorm,
for k = 1, `cnn4x128-d3-h1` for k = 2, `cnn4x128-d3-h2` for k = 3.
"""

from __future__ import annotations

import math
import re

from torch import nn

from modulewise.models.network import Network, Shape

PATTERN = r"cnn(\d+)x(\d+)(?:-d(\d+(?:\.\d+)*))?(?:-h(\d+))?"
EXAMPLES = ["cnn4x128-d3-h2", "cnn6x128-d2.4"]


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A plain CNN."""
    depth, base, more = int(match[1]), int(match[2]), int(match[4] or 0)
    halvings = [int(n) for n in match[3].split(".")] if match[3] else []
    if not (1 <= depth <= 100 and 1 <= base <= 4096 and more <= 10):
        raise ValueError("1 to 100 layers of 1 to 4096 channels, up to 10 more in the classifier")
    if halvings != sorted(set(halvings)) or not all(2 <= n <= depth for n in halvings):
        raise ValueError(f"maps are halved before layers of 2 to {depth}, in order")
    stages: list[tuple[str, nn.Module]] = []
    c, (h, w) = image[0], image[1:]
    widths, sizes = [], []
    for i in range(1, depth + 1):
        width = base * 2 ** sum(n <= i for n in halvings)
        stages.append((str(i), nn.Sequential(*_layer(c, width, i in halvings))))
        if i in halvings:
            h, w = math.ceil(h / 2), math.ceil(w / 2)
        c = width
        widths.append(width)
        sizes.append((h, w))
    sides = (math.ceil(h / 2), math.ceil(w / 2))
    head = nn.Sequential(
        *(part for _ in range(more) for part in _layer(c, c)),
        nn.AvgPool2d(sides, ceil_mode=True),
        nn.BatchNorm2d(c),
        nn.Flatten(),
        nn.Linear(c * math.ceil(h / sides[0]) * math.ceil(w / sides[1]), outputs),
    )
    return Network(
        stages,
        head,
        image,
        lambda feature, i: nn.Sequential(*_layer(feature[0], widths[i], feature[1:] != sizes[i])),
    )


def _layer(c_in: int, c_out: int, halve: bool = False) -> list[nn.Module]:
    pool = [nn.MaxPool2d(2, ceil_mode=True)] if halve else []
    return [
        *pool,
        nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(),
    ]
