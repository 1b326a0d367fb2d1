"""Greedy supervised learning: every module minimises the cross-entropy of a classifier on its
output.

    L_k = CE( a_k(h_k), y ),   h_k = f_k( stop_gradient(h_{k-1}) )

All modules learn on every batch; the last one uses the net's own classifier. With a linear
classifier on the pooled output, a_k(h) = W_k GAP(h) + b_k, this is InfoPro's "Greedy SL" (arXiv
2101.10832, table 1); with heads as expensive as InfoPro's helpers, its "Greedy SL+".

Deviations: none known of Greedy SL; the paper's released code names this head (`0c1f`) greedy SL.
The nets of Greedy SL+ were never published: the matched heads are our own choice
(`parts/matched.py`).
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from modulewise.method import LocalMethod
from modulewise.models.network import CutNetwork
from modulewise.parts.heads import label_heads
from modulewise.parts.matched import matched_head
from modulewise.task import need_class_labels


class Greedy(LocalMethod):
    """Local classifiers.

    Args:
        trunk: the network, cut.
        head: `linear`; `matched`: convolutions until a head computes as much as InfoPro's decoder
            and head together; or `shared`: the net's own classifier, read only.
    """

    def __init__(
        self, trunk: CutNetwork, *, head: Literal["linear", "matched", "shared"] = "linear"
    ) -> None:
        super().__init__(trunk)
        if head == "matched":
            need_class_labels(trunk.task, trunk.image, "head matched")
        if head == "shared":
            self.joint_only, self.feedback = True, "later"
        if head != "matched":
            self.heads = label_heads(trunk, "0c1f" if head == "linear" else head)
        else:
            self.heads = nn.ModuleList(
                matched_head(s, trunk.image, self.task.outputs, trunk.width)
                for s in trunk.cut_shapes
            )
