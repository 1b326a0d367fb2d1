"""Greedy layer-wise learning with auxiliary networks of k layers (Belilovsky et al., ICML 2019,
arXiv 1812.11446).

    L_j = CE( a_j(h_j), y ),   a_j = (k - 1) x [3x3 convolution, BatchNorm, ReLU],
                               average to 2x2, BatchNorm, linear

The paper trains layer after layer, each for 50 epochs, and then freezes it: schedule `sequential`,
which the recipes set. The convolutions of a_j keep the channels of h_j. With k = 1 the classifier
is linear in the pooled features.

Deviations from the paper:

1. The last module has the net's own classifier; `cnn<...>-h<k-1>` gives it k layers, as in the
   paper.
2. Networks halve maps by max-pooling; the released CIFAR code puts every 2x2 pixels into channels.
   Its run with k = 1 has no BatchNorm, in the layers and in a_j; here it has.
3. Maps smaller than 2x2, and flat features, are not averaged. Maps whose size is odd are averaged
   over windows that cover the edge with what is there.
4. The ensemble of all layers' classifiers is absent; every module's own error is reported.
5. Modules may hold several stages; in the paper every module is one layer.
6. The momentum goes on where the rate is divided; in the released code the optimiser begins anew.
"""

from __future__ import annotations

import math

from torch import nn

from modulewise.config.types import Count
from modulewise.method import LocalMethod
from modulewise.models.network import CutNetwork, Shape
from modulewise.parts.layers import AsMap, conv
from modulewise.task import need_class_labels


class Layerwise(LocalMethod):
    """Classifiers of k layers.

    Args:
        trunk: the network, cut.
        auxiliary: k, layers of a classifier that have weights, the linear one included.
    """

    def __init__(self, trunk: CutNetwork, *, auxiliary: Count = 1) -> None:
        super().__init__(trunk)
        need_class_labels(trunk.task, trunk.image, "layerwise")
        self.heads.extend(
            _classifier(shape, auxiliary - 1, self.task.outputs) for shape in trunk.cut_shapes
        )


def _classifier(feature: Shape, convolutions: int, outputs: int) -> nn.Sequential:
    c, (h, w) = feature[0], feature[1:] or (1, 1)
    sides = math.ceil(h / 2), math.ceil(w / 2)
    return nn.Sequential(
        AsMap(),
        *(conv(c, c) for _ in range(convolutions)),
        nn.AvgPool2d(sides, ceil_mode=True),
        nn.BatchNorm2d(c),
        nn.Flatten(),
        nn.Linear(c * math.ceil(h / sides[0]) * math.ceil(w / sides[1]), outputs),
    )
