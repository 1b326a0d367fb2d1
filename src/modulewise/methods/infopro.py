"""InfoPro (Wang et al., arXiv 2101.10832): keep the information about the input, drop only what is
irrelevant to the label.

    L_k = lambda1(k) BCE( sigmoid(D_k(h_k)), image ) + lambda2(k) A_k(h_k, y)

D_k reconstructs the augmented image before normalisation; A_k is the cross-entropy of a small head
(softmax) or the supervised contrastive loss of its embedding (contrast). Both weights run linearly
over the auxiliary modules k = 0 ... K-2; the last module's loss is the net's own cross-entropy.
Both terms are evaluated even at weight zero, as in the released code. Its helpers for ImageNet are
`head: imagenet` and `decoder: stepwise`, in softmax mode; those for maps of labels (Cityscapes) are
`head: fcn`, `feature_dim: 512` and `decoder: stepwise`, which start from the library's default.

Deviations from the paper:

1. The decoder's sigmoid is folded into the loss (binary cross-entropy with logits): the same value,
   safer near 0 and 1. The two are equal only while the sigmoid does not saturate: beyond a logit of
   about 17 in fp32 the released code's clamped loss has no gradient, ours the true one. At the
   first steps of ResNet-110 that is up to 3.4 % of the loss.
2. The published weights are those of the contrast mode; the softmax mode's were never released and
   the contrast table is used for it.
3. Convolutions of heads and decoders start like the backbone's, in every network (the released code
   does so in its ResNets), but for those for maps of labels.
4. The decoder's resize and first convolution are computed as one where that is cheaper, equal but
   for rounding (`parts/decoders.py`). `resize: plain` computes them as the released code does, and
   needs the memory that the paper's table 3 measures: so does the recipe `infopro-balanced`.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from modulewise.config.types import Count, DecoderNet, Ends, LabelHead, Positive, Resize
from modulewise.method import Batch, LocalMethod
from modulewise.models.network import CutNetwork
from modulewise.parts.infopro_loss import InfoProLoss


class Infopro(LocalMethod):
    """Reconstruction and label term on every module but the last.

    Args:
        trunk: the network, cut.
        mode: `softmax` (cross-entropy) or `contrast` (supervised contrastive) label term.
        lambda1: weight of the reconstruction, first and last auxiliary module; the first alone for
            K = 2.
        lambda2: weight of the label term, likewise.
        head: architecture of the label heads.
        feature_dim: their hidden units and, in contrast mode, the embedding's dimension.
        temperature: of the contrastive loss.
        decoder: architecture of the decoders.
        resize: how decoders `direct` compute resize and first convolution: `plain`, one after the
            other as in the released code, whose memory is what the papers' tables measure;
            `factored`, equal but for rounding, without the large map in between; `auto`, per module
            the one of fewer operations.
    """

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        mode: Literal["softmax", "contrast"] = "contrast",
        lambda1: Ends = (5.0, 0.5),
        lambda2: Ends = (0.5, 1.0),
        head: LabelHead = "1c2f",
        feature_dim: Count = 128,
        temperature: Positive = 0.07,
        decoder: DecoderNet = "direct",
        resize: Resize = "auto",
    ) -> None:
        super().__init__(trunk)
        terms = (mode, head, feature_dim, temperature, decoder, lambda1, lambda2)
        self.objectives = nn.ModuleList(
            [InfoProLoss(trunk, k, *terms, resize=resize) for k in range(self.k - 1)]
        )
        if head == "shared":
            self.joint_only, self.feedback = True, "later"

    def scores(self, k: int, h: Tensor) -> Tensor | None:
        """Class scores of module k's head in softmax mode."""
        return self.objectives[k].scores(h)  # type: ignore[operator]

    def local_loss(self, k: int, h: Tensor, batch: Batch) -> Tensor:
        """lambda1(k) * reconstruction + lambda2(k) * label term."""
        return self.objectives[k](h, batch)
