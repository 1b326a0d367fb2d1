"""Greedy supervised learning: every module minimises the cross-entropy of a linear classifier on its pooled output.

    L_k = CE( W_k GAP(h_k) + b_k, y ),   h_k = f_k( stop_gradient(h_{k-1}) )

All modules learn on every batch; the last one uses the net's own classifier. This is InfoPro's "Greedy SL" (arXiv 2101.10832, table 1).

Deviations: none known; the paper's released code names this head (`0c1f`) greedy SL.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..method import Batch, LocalMethod
from ..network import Trunk
from ..parts.heads import label_head


class Greedy(LocalMethod):
    """Linear local classifiers."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__(trunk)
        self.heads = nn.ModuleList([label_head("0c1f", s, self.task.outputs, trunk.width) for s in trunk.shapes])

    def scores(self, k: int, h: Tensor) -> Tensor:
        """The linear classifier of module k."""
        return self.heads[k](h)

    def local_loss(self, k: int, h: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the linear classifier."""
        return self.task.loss(self.scores(k, h), batch.y)
