"""LeNet-5 (LeCun et al., Proc. IEEE 86(11), 1998), cut before its nonlinearities (modular training
on pairs, arXiv 2005.05541): `lenet5` with ReLUs, `lenet5-tanh`, `lenet5-sigmoid`.

Two 5x5 convolutions of 6 and 16 channels, each with 2x2 pooling, hidden layers of 120 and 84 units.
Images smaller than 32 pixels are padded with zeros to 32, as LeCun's were. As in kerNET, the
authors' code, pooling takes maxima, which may stand before or after a nonlinearity that never
falls, the convolutions' channels are fully connected, and initialisation is the library's default.
There images of 32 pixels are padded to 36, too, so that the first hidden layer has 576 inputs on
CIFAR-10; here it has 400.

Stages are `1` to `4`, each beginning with the nonlinearity of the one before, so that all give
pre-activations, and `phi`: the last nonlinearity, scaled to unit length, without parameters.
"""

from __future__ import annotations

import math
import re
from typing import cast

from torch import Tensor, nn

from modulewise.config.types import FeatureMap
from modulewise.models.network import Network, Shape
from modulewise.models.phi import Phi, activation

PATTERN = r"lenet5(?:-(tanh|sigmoid))?"
EXAMPLES = ["lenet5", "lenet5-tanh"]
_SIDE = 32


class Activation(nn.Module):
    """An element-wise nonlinearity by name."""

    def __init__(self, kind: FeatureMap) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, z: Tensor) -> Tensor:
        """Any shape, kept."""
        return activation(self.kind, z)


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A LeNet-5."""
    kind = cast(FeatureMap, match[1] or "relu")
    pad = [max(0, math.ceil((_SIDE - side) / 2)) for side in image[1:]]
    sides = [((side + 2 * p - 4) // 2 - 4) // 2 for side, p in zip(image[1:], pad, strict=True)]
    stages = [
        (
            "1",
            nn.Sequential(nn.Conv2d(image[0], 6, 5, padding=(pad[0], pad[1])), nn.MaxPool2d(2)),
        ),
        ("2", nn.Sequential(Activation(kind), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2))),
        (
            "3",
            nn.Sequential(Activation(kind), nn.Flatten(), nn.Linear(16 * math.prod(sides), 120)),
        ),
        ("4", nn.Sequential(Activation(kind), nn.Linear(120, 84))),
        ("phi", Phi(kind)),
    ]
    return Network(stages, nn.Linear(84, outputs), image)
