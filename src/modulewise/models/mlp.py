"""Multilayer perceptrons: `mlp3` has three hidden layers of 256 units, `mlp3x1024` three of 1024.
Every layer is a stage.

Layers are linear, BatchNorm, ReLU, with the library's default initialisation; those of
`mlp3x1024-relu` are linear with a bias and ReLU, without BatchNorm, those of `mlp7x240-tanh` the
same with tanh, and start as in difference target propagation (arXiv 1412.7525): all weights
orthogonal, the classifier's too, biases zero. Stages are named `1`, `2`, ...
"""

from __future__ import annotations

import itertools
import math
import re

from torch import nn

from modulewise.models.network import Network, Shape

PATTERN = r"mlp(\d+)(?:x(\d+))?(?:-(relu|tanh))?"
EXAMPLES = ["mlp2", "mlp3", "mlp4x512", "mlp2x500-relu", "mlp7x240-tanh"]


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """An MLP on flattened images."""
    depth, width = int(match[1]), int(match[2] or 256)
    if not (1 <= depth <= 1000 and 1 <= width <= 100_000):
        raise ValueError("1 to 1000 hidden layers of 1 to 100000 units")
    sizes = [math.prod(image)] + [width] * depth
    stages: list[tuple[str, nn.Module]] = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes), start=1):
        flat = [nn.Flatten()] if i == 1 else []
        stages.append((str(i), nn.Sequential(*flat, *_layer(a, b, match[3]))))
    return Network(
        stages,
        _orthogonal(width, outputs) if match[3] == "tanh" else nn.Linear(width, outputs),
        image,
        lambda feature, _: nn.Sequential(*_layer(feature[0], width, match[3])),
    )


def _layer(a: int, b: int, plain: str | None) -> list[nn.Module]:
    """From a to b units; `plain` names an activation that follows without BatchNorm."""
    if plain == "relu":
        return [nn.Linear(a, b), nn.ReLU()]
    if plain == "tanh":
        return [_orthogonal(a, b), nn.Tanh()]
    return [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU()]


def _orthogonal(a: int, b: int) -> nn.Linear:
    linear = nn.Linear(a, b)
    nn.init.orthogonal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
