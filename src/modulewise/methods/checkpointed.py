"""End-to-end backpropagation with gradient checkpointing (Chen et al., arXiv 1604.06174): less
memory for a second forward pass.

    min L(net(x), y)

Of each segment only the input is kept; the rest is computed again when the backward pass comes to
it. Or selectively: outputs of convolutions and matrix products are kept too, and what is computed
again is cheap, the normalisations and nonlinearities (`keep: products`).

The weights are those of backpropagation; only memory and time differ. Segments are the K pieces
between the cuts (`cuts`), single stages (`blocks`), or round(sqrt(n)) pieces of as equal a number
of stages as possible out of n (`sqrt`). Nothing is gradient-isolated: under `cuts`, K counts
segments, and there is a single module that learns.

Deviations from the paper:

1. The last segment is not checkpointed: its backward pass comes next, so that its activations are
   needed at once.
2. Keeping the outputs of some operations within a segment is not the paper's; it is how
   `torch.utils.checkpoint` checkpoints selectively.
3. Recomputation stops at the last tensor that is needed, and leaves BatchNorm's running statistics
   as the first pass made them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import nn

from modulewise.method import Batch, Loss, Method
from modulewise.models.network import CutNetwork
from modulewise.models.partition import even
from modulewise.parts import recompute

_ATEN = torch.ops.aten
PRODUCTS = [
    _ATEN.convolution.default,
    _ATEN.mm.default,
    _ATEN.addmm.default,
    _ATEN.bmm.default,
    _ATEN.baddbmm.default,
]


class Checkpointed(Method):
    """Backpropagation that recomputes.

    Args:
        trunk: the network, cut.
        at: where segments begin: `cuts` (of a partition into K), `blocks` (every stage), `sqrt`;
            the last two need K = 1.
        keep: of a segment beside its input: `nothing`, or the outputs of convolutions and matrix
            `products`.
    """

    joint_only = True
    graphable = False
    whole_modules = False
    locked = "later"
    passes = 2

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        at: Literal["cuts", "blocks", "sqrt"] = "cuts",
        keep: Literal["nothing", "products"] = "nothing",
    ) -> None:
        super().__init__(trunk)
        if at != "cuts" and self.k > 1:
            raise ValueError(f"checkpoints at {at} need no cuts; valid modules: 1, got {self.k}")
        self.at, self.keep = at, keep

    @property
    def horizon(self) -> int:
        """Every segment."""
        return self.k

    @property
    def alive(self) -> int:
        """One: of the other segments the inputs alone are kept."""
        return 1

    def segments(self) -> list[nn.Module]:
        """The pieces, in order; the last one holds the head."""
        if self.at == "cuts":
            return list(self.trunk)
        whole = cast(nn.Sequential, self.trunk[0])
        stages = len(whole) - 1
        count = stages if self.at == "blocks" else round(stages**0.5)
        return [whole[a:b] for a, b in pairwise([0, *even(stages, count), stages + 1])]

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """The task's loss, which reaches every group."""
        h = batch.x
        *early, last = self.segments()
        for segment in early:
            h = recompute.segment(segment, h, PRODUCTS if self.keep == "products" else [])
        yield Loss(self.task.loss(last(h), batch.y), tuple(self.groups()), f"module_{self.k - 1}")
