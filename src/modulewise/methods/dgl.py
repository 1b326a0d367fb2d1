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

from modulewise.config.types import Count, LabelHead
from modulewise.method import LocalMethod
from modulewise.models.network import CutNetwork
from modulewise.parts.heads import label_heads


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
        head: LabelHead = "1c2f",
        feature_dim: Count = 128,
    ) -> None:
        super().__init__(trunk)
        self.heads = label_heads(trunk, head, feature_dim)
        if head == "shared":
            self.joint_only, self.feedback = True, "later"
