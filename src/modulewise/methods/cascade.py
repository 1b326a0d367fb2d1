"""Deep cascade learning (Marquez, Hare & Niranjan, IEEE TNNLS 2018): layer after layer, each under
a classifier with two hidden layers.

    L_k = CE( a_k(h_k), y ),   a_k = FC(n), ReLU, dropout, FC(n / 2), ReLU, dropout, linear

on the whole flattened h_k. The paper trains layer i, counted from 0, with a fresh a_i for e + 10 i
epochs and freezes it: schedule `sequential`, which the recipe sets. n is 64 to 512.

Deviations from the paper's released code:

1. The learning rate is constant; theirs is divided by ten where the accuracy on held-out images, a
   tenth of the training set, stops rising.
2. Images are normalised per channel; theirs are ZCA-whitened.
3. The last module has the net's own classifier. Theirs are the last layer's a_k.
4. Weights start as the library's default; theirs by Keras' (Glorot, uniform).
5. Weight decay applies to all parameters, biases and BatchNorm included; theirs to weights.
6. Modules may hold several stages; in the paper every module is one layer.
"""

from __future__ import annotations

import math

from torch import nn

from modulewise.config.types import Count, Fraction
from modulewise.method import LocalMethod
from modulewise.models.network import CutNetwork, Shape
from modulewise.task import need_class_labels


class Cascade(LocalMethod):
    """Classifiers of two hidden layers.

    Args:
        trunk: the network, cut.
        units: n, of the first hidden layer; the second has half of them.
        dropout: behind both; 0 has none.

    Raises:
        ValueError: a single unit, which has no half, or a dropout of everything.
    """

    def __init__(self, trunk: CutNetwork, *, units: Count = 512, dropout: Fraction = 0.5) -> None:
        super().__init__(trunk)
        need_class_labels(trunk.task, trunk.image, "cascade")
        if units < 2:
            raise ValueError(f"cascade needs 2 units or more, got {units}")
        if dropout == 1:
            raise ValueError("cascade needs a dropout below 1")
        self.heads.extend(
            _classifier(shape, units, dropout, self.task.outputs) for shape in trunk.cut_shapes
        )


def _classifier(feature: Shape, units: int, dropout: float, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(feature)
    for hidden in (units, units // 2):
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, outputs))
