"""Direct feedback alignment (Nøkland, NIPS 2016, arXiv 1609.01596): fixed random matrices carry the
error at the net's output to every module.

    module k < K learns from  dL / dh_k := B_k^T e,   e = dL / d scores;   the last from L itself
    B_k drawn once, uniform on [-1, 1] / sqrt(n_k),   n_k the numbers of h_k

All modules run forward before the first one learns, and each keeps its graph until the error at
the output is known. What is reported as a module's loss is the product of h_k and the error
carried, whose gradient at h_k that error is; its value measures no progress.

Deviations from the paper, of which the released code was read for how B_k is drawn:

1. One feedback a module, not a layer: inside a module gradients are those of backpropagation. Where
   every module is a layer (`mlp3`, K = 3) it is the paper's; a block of a ResNet is a module of two
   or three.
2. B_k ends where the network is cut: behind the nonlinearity in most, before it in `lenet5`.
3. Cross-entropy of softmax; the paper's runs have a logistic output and binary cross-entropy, tanh
   units, and RMSprop.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from modulewise.method import Batch, Loss, Method
from modulewise.models.network import CutNetwork
from modulewise.parts.projections import Projection
from modulewise.task import need_class_labels


class Dfa(Method):
    """Modules that learn from the projected error.

    Args:
        trunk: the network, cut.
    """

    joint_only = True
    feedback = "fixed"
    locked = "scores"

    def __init__(self, trunk: CutNetwork) -> None:
        super().__init__(trunk)
        need_class_labels(trunk.task, trunk.image, "dfa")
        outputs = self.task.outputs
        self.projections = nn.ModuleList(Projection(outputs, s) for s in trunk.cut_shapes)

    @property
    def alive(self) -> int:
        """All: they wait for the error."""
        return self.k

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """The last module's loss, which leaves the error, then all others'."""
        h, features = batch.x, []
        for module in self.trunk:
            h = module(h.detach())
            features.append(h)
        scores, last = features.pop(), self.k - 1
        scores.retain_grad()
        yield Loss(self.task.loss(scores, batch.y), self.of_module(last), f"module_{last}")
        for k, projection in enumerate(self.projections):
            h = features[k]
            carried = (h * projection(scores.grad)).sum()
            yield Loss(carried, self.of_module(k), f"module_{k}", surrogate=True)
