"""Direct random target projection (Frenkel, Lefebvre & Bol, arXiv 1909.01311): every module learns
from a fixed random projection of the label, and from no error at all.

    L_k = mean over images of < h_k, B_k^T y >,   y one-hot;   the last module from CE( h_K, y )
    B_k drawn once, uniform on [-1, 1] sqrt(6 / n_k),   n_k the numbers of h_k

The projected label is the gradient at h_k. It takes the place of the projected error of direct
feedback alignment, of which the signs are known before the net has run; the minus is the random
matrix's. Nothing comes back: a module's update waits for its own output alone.

L_k is linear in h_k and falls as the module learns. It has no minimum where activations are
unbounded: with ReLUs it needs BatchNorm, or weights diverge; the paper's units are bounded.

Deviations from the paper, of which the released code was read:

1. One projection a module, not a layer: inside a module gradients are those of backpropagation.
2. Gradients are means over images; there those of hidden layers are sums, and only the last
   layer's, by its loss, is a mean.
3. Cross-entropy of softmax; the code's default is binary cross-entropy of a logistic output, tanh
   units, no BatchNorm, and for CIFAR-10 convolutions that do not learn.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from modulewise.method import Batch, LocalMethod
from modulewise.models.network import CutNetwork
from modulewise.parts.projections import Projection
from modulewise.task import need_class_labels


class Drtp(LocalMethod):
    """Modules that learn from the projected label.

    Args:
        trunk: the network, cut.
    """

    def __init__(self, trunk: CutNetwork) -> None:
        super().__init__(trunk)
        need_class_labels(trunk.task, trunk.image, "drtp")
        outputs = self.task.outputs
        self.projections = nn.ModuleList(
            Projection(outputs, shape, 6**0.5) for shape in trunk.cut_shapes
        )

    def local_loss(self, k: int, h: Tensor, batch: Batch) -> Tensor:
        """Mean over images of the product with the label's row."""
        projection = cast(Projection, self.projections[k])
        return (h * projection.of_labels(batch.y)).sum() / len(h)
