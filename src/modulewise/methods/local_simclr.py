"""Local contrastive learning without labels: every module makes the embeddings of two views of an
image agree; linear probes read what it has learnt.

    a_k, b_k  = f_k( stop_gradient(a_{k-1}) ), f_k( stop_gradient(b_{k-1}) )    two augmented views
    L_k       = NT-Xent( p_k(a_k), p_k(b_k); T )                moves f_k and its projection p_k
    L_probe_k = CE( W_k GAP( stop_gradient(a_k) ), y )          moves the probe W_k alone

The stages of the last module learn by L_K like all others; the net's own classifier is the last
probe. So labels never reach the trunk, and no gradient crosses a cut. The idea is that of Greedy
InfoMax (arXiv 1905.11786) and LoCo (arXiv 2008.01342), with the loss of SimCLR (arXiv 2002.05709):
p_k is an MLP of one hidden layer on the pooled output.

Both views go through a module in one pass, so that BatchNorm normalises with the statistics of both
and counts one batch. Where the state that enters a module has the first view alone (a schedule has
run the earlier modules without learning), the second is carried through these anew, without
gradients, and their running statistics stay.

Deviations from the papers:

1. The views are the data set's own random crop and flip, without resizing, colour distortion or
   blur: an easier task than SimCLR's. So far it taught nothing that shows: after 12 epochs on 2,000
   CIFAR-10 images (ResNet-8, K = 2, T = 0.5, one seed) linear classifiers refitted on the two
   modules err by 73.2 and 68.5 % of 2,000 test images, on those of the random initial net by 70.8
   and 69.4 %. A data set without crop or flip is refused.
2. Greedy InfoMax contrasts patches of one image by its own prediction loss; LoCo's modules overlap,
   and its losses reach back through two of them; both probe the last module's output.
3. Probes learn beside the trunk, from the first step on, not on finished features; classifiers of
   networks whose own has hidden layers (VGG) are not linear.
4. No LARS, no batches of thousands: the optimiser and batches of the training settings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modulewise.config.types import Count, Positive
from modulewise.method import Batch, Local, Loss, State
from modulewise.models.network import CutNetwork
from modulewise.parts.heads import label_head, label_heads
from modulewise.parts.losses import nt_xent
from modulewise.parts.readout import Readout
from modulewise.parts.statistics import frozen_statistics


class LocalSimclr(Readout):
    """Modules that learn from two views of every image.

    Args:
        trunk: the network, cut.
        temperature: T of the contrastive loss.
        feature_dim: units of the projections' hidden layer, and of their output.
    """

    two_views = True
    passes = 2
    supervision = "none"

    def __init__(
        self, trunk: CutNetwork, *, temperature: Positive = 0.5, feature_dim: Count = 128
    ) -> None:
        super().__init__(trunk)
        self.temperature = temperature
        self.projections = nn.ModuleList(
            label_head("0c2f", trunk.stage_shapes[end], feature_dim, trunk.width, feature_dim)
            for end in trunk.ends
        )
        self.heads = label_heads(trunk, "0c1f")

    def forward_module(self, k: int, state: State) -> State:
        """Run module k on one view or on both."""
        return tuple(self.trunk[k](h) for h in state)

    def local(self, k: int, batch: Batch, state: State) -> Local:
        """NT-Xent of the module's stages, then the probe's loss on their detached output."""
        a, *rest = state
        b = rest[0] if rest else self._second(k, batch)
        h = self.stages(k)(torch.cat([a, b]))
        a, b = h.detach().chunk(2)
        z_a, z_b = self.projections[k](h).chunk(2)
        yield Loss(
            nt_xent(z_a, z_b, self.temperature),
            (f"trunk/{k}", f"projections/{k}"),
            f"contrast_{k}",
        )
        last = k == self.k - 1
        scores = (self.classifier if last else self.heads[k])(a)
        yield Loss(
            self.task.loss(scores, batch.y),
            self.readout if last else (f"heads/{k}",),
            f"module_{k}",
        )
        return a, b

    @torch.no_grad()
    def _second(self, k: int, batch: Batch) -> Tensor:
        """The second view as it enters module k."""
        assert batch.view, "data that give no second view"
        h = batch.view()
        for module in self.trunk[:k]:
            with frozen_statistics(module):
                h = module(h)
        return h
