"""Modular training on pairs (Duan, Yu and Principe, arXiv 2005.05541): a module learns which images
are of one class and which are not, its successor the rest.

    L_k = - objective( K, y ),   K_ij = phi(z_i) . phi(z_j),   z = h_k

z are pre-activations: a cut stands before a nonlinearity, which belongs to the next module and, as
phi with unit length, to the loss. `parts/pairs.py` has the objectives; the default is the cosine of
K's upper triangle with that of the ideal kernel. The last module learns the task's own loss. There
are no heads; labels enter a module's loss only as same or different.

In theory (Duan et al., Neural Computation 32(1), 2020: two classes, hinge loss, a linear last
module) a module at the optimum of its objective is part of a global optimum of the whole net. The
paper trains strictly one module after the other (schedule `sequential`: each is frozen, BatchNorm
too, before the next one starts); under `joint` all learn on every batch.

Deviations from the paper, of which we know the released code, kerNET:

1. Every module keeps its last epoch; theirs the best on 5,000 validation images, from which each
   stage of the learning rate goes on, so that they train on 45,000 images of CIFAR-10.
2. The last module learns cross-entropy, never the multi-class hinge loss (their SVHN runs).
3. The optional projection, all numbers of h_k -> (their number + 512) / 2 -> 512 with a ReLU
   between, stands on every module but the last; theirs not on one that has 512 numbers already.
4. On networks whose stages end with a nonlinearity the features are what phi is applied to; relu
   and reapen are then the paper's, at a cut behind the nonlinearity.
5. Batches without the pairs that an objective needs have a finite value and no gradient.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from modulewise.config.types import PairFeature, PairObjective, Positive
from modulewise.method import Batch, LocalMethod
from modulewise.models.network import CutNetwork
from modulewise.parts import pairs
from modulewise.task import need_class_labels


class Pairwise(LocalMethod):
    """An objective on pairs of every module's features, without heads.

    Args:
        trunk: the network, cut.
        objective: on the batch's pairs: all of them, or (`neo`) those of two classes only.
        feature: phi, or the Gaussian kernel of the features themselves.
        sigma: of the Gaussian kernel, in units of the features.
        projection: two linear layers before phi, to 512 features; discarded after training.

    Raises:
        ValueError: the task has no class label per image, or the objective has no value for this
            feature.
    """

    supervision = "pair"

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        objective: PairObjective = "upper_tri_alignment",
        feature: PairFeature = "relu",
        sigma: Positive = 10.0,
        projection: bool = False,
    ) -> None:
        super().__init__(trunk)
        need_class_labels(trunk.task, trunk.image, "pairwise")
        if not pairs.defined(feature, objective):
            raise ValueError(
                f"objective alignment_neo needs kernels below zero, which {feature} has not; valid "
                "features: tanh"
            )
        self.objective, self.feature, self.sigma = objective, feature, sigma
        shapes = trunk.cut_shapes if projection else []
        self.projections = nn.ModuleList(_projection(math.prod(shape)) for shape in shapes)

    def local_loss(self, k: int, h: Tensor, batch: Batch) -> Tensor:
        """Minus the objective on the pairs of module k's features."""
        z = self.projections[k](h) if len(self.projections) else h
        gram = pairs.kernel(self.feature, z, self.sigma)
        return -pairs.value(self.objective, gram, batch.y, *pairs.bounds(self.feature))


def _projection(size: int) -> nn.Sequential:
    hidden = (size + 512) // 2
    return nn.Sequential(
        nn.Flatten(), nn.Linear(size, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 512)
    )
