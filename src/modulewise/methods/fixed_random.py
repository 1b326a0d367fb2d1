"""Local errors from fixed random classifiers (Mostafa, Ramesh & Cauwenberghs, arXiv 1711.06756).

    L_k = CE( R_k h_k, y ),   R_k drawn once: N(0, 1 / n_k), n_k the numbers of h_k

Module k learns from dCE / dh_k, which R_k's transpose carries; R_k is a buffer that no step moves.
It has a row a class and a column a number of h_k: of the whole map, unless `features` has maps
averaged down first (`parts/pooling.py`). The errors of R_k h_k are reported like other heads'.

Deviations from the paper, of which we have read the abstract only:

1. How R_k is drawn, that it has no bias and that maps are not pooled before it is our own choice.
   Whether the paper carries errors back by R_k's transpose or by another matrix we do not know.
2. The last module has the net's own classifier, which learns.
3. Modules may hold several stages.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modulewise.config.types import Count
from modulewise.method import LocalMethod
from modulewise.models.network import CutNetwork, Shape
from modulewise.parts.pooling import flattened
from modulewise.task import need_class_labels


class FixedRandom(LocalMethod):
    """Local classifiers that never learn.

    Args:
        trunk: the network, cut.
        features: numbers that maps are pooled to at most before the classifier; the default leaves
            every map of a CIFAR network whole.
    """

    def __init__(self, trunk: CutNetwork, *, features: Count = 1048576) -> None:
        super().__init__(trunk)
        need_class_labels(trunk.task, trunk.image, "fixed_random")
        self.heads.extend(RandomHead(s, self.task.outputs, features) for s in trunk.cut_shapes)


class RandomHead(nn.Module):
    """R_k: a local feature to class scores.

    Args:
        feature: shape of one feature, (C, H, W) or (C,).
        outputs: number of classes.
        most: numbers that maps are pooled to at most.
    """

    matrix: Tensor

    def __init__(self, feature: Shape, outputs: int, most: int) -> None:
        super().__init__()
        self.flatten, size = flattened(feature, most)
        self.register_buffer("matrix", torch.randn(outputs, size) / size**0.5)

    def forward(self, h: Tensor) -> Tensor:
        """B C H W or B C -> B outputs."""
        return nn.functional.linear(self.flatten(h), self.matrix)
