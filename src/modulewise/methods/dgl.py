"""Decoupled greedy learning (Belilovsky et al., arXiv 1901.08164): every module has a small head
and its own cross-entropy.

    for k = 1..K:  h_k = f_k( stop_gradient(h_{k-1}) );  step (f_k, a_k) on CE( a_k(h_k), y )

Deviations from the paper:

1. The default head is `1c2f` of InfoPro's released code, which InfoPro and ContSup use as their
   DGL-like baseline; the paper's own is `mlp-sr`. Whether InfoPro's printed DGL rows used `1c2f` is
   unknown.
2. One optimiser state for all modules with one learning rate; the paper steps each module on its
   own. The updates are the same.
3. `mlp-sr` pools to the size divided by four, rounded up, as in the released code, and then always
   to 2x2; there maps of up to four pixels are pooled to one.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from modulewise.config.types import Count
from modulewise.method import Batch, LocalMethod
from modulewise.models.network import CutNetwork
from modulewise.parts.heads import label_head


class Dgl(LocalMethod):
    """Greedy modules with small convolutional or MLP heads.

    Args:
        trunk: the network, cut.
        head: architecture of the local heads.
        feature_dim: units of their hidden layer (of `1c2f` and its kin).
    """

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        head: Literal["0c2f", "1c1f", "1c2f", "1c3f", "2c2f", "mlp-sr"] = "1c2f",
        feature_dim: Count = 128,
    ) -> None:
        super().__init__(trunk)
        self.heads = nn.ModuleList(
            [
                label_head(head, s, self.task.outputs, trunk.width, feature_dim)
                for s in trunk.cut_shapes
            ]
        )

    def scores(self, k: int, h: Tensor) -> Tensor:
        """Class scores of module k's head."""
        return self.heads[k](h)

    def local_loss(self, k: int, h: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the head."""
        return self.task.loss(self.scores(k, h), batch.y)
