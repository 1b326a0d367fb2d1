"""InfoPro's local objective (arXiv 2101.10832): reconstruct the image, tell the label."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from modulewise.config.types import DecoderNet, LabelHead, Resize
from modulewise.method import Batch
from modulewise.models.network import CutNetwork, Shape
from modulewise.models.start import library_default
from modulewise.parts.decoders import Decoder
from modulewise.parts.heads import head_of_module, label_head
from modulewise.parts.losses import interpolate, reconstruction, supervised_contrastive
from modulewise.parts.stepwise_decoder import StepwiseDecoder
from modulewise.task import label_maps, need_class_labels

Mode = Literal["softmax", "contrast"]


class InfoProLoss(nn.Module):
    """Helpers and loss of one auxiliary module: lambda1 * BCE(D(h), image) + lambda2 * A(h, y).

    Args:
        trunk: the network, cut.
        k: which module, 0 ... K-2.
        mode: A is the cross-entropy of a head (`softmax`) or the supervised contrastive loss of its
            embedding (`contrast`).
        head: architecture of the head.
        feature_dim: its hidden units and, in contrast mode, the embedding's dimension.
        temperature: of the contrastive loss.
        decoder: architecture of D; without it the objective is A alone, at weight 1.
        lambda1: (first, last) weight of the reconstruction.
        lambda2: (first, last) weight of A.
        feature: shape of one of the features it is given; of the module's output if not said.
        resize: how a `direct` D computes its first two layers (`parts/decoders.py`).

    Raises:
        ValueError: `head` is `shared`, and the net's classifier does not fit or A needs an
            embedding; `resize` is `factored`, and D is not `direct`.
    """

    def __init__(
        self,
        trunk: CutNetwork,
        k: int,
        mode: Mode,
        head: LabelHead,
        feature_dim: int,
        temperature: float,
        decoder: DecoderNet | None,
        lambda1: tuple[float, float],
        lambda2: tuple[float, float],
        feature: Shape | None = None,
        resize: Resize = "auto",
    ) -> None:
        super().__init__()
        shape = feature or trunk.cut_shapes[k]
        self.mode, self.temperature, self.task = mode, temperature, trunk.task
        if mode == "contrast":
            need_class_labels(trunk.task, trunk.image, "mode contrast")
        self.head: nn.Module
        if mode == "softmax":
            self.head = head_of_module(trunk, k, head, shape, feature_dim)
        elif head == "shared":
            raise ValueError("head shared gives class scores, no embedding; valid mode: softmax")
        else:
            self.head = label_head(head, shape, feature_dim, trunk.width, feature_dim)
        self.decoder = _decoder(decoder, shape, trunk.image, resize) if decoder else None
        if self.decoder and decoder == "stepwise" and label_maps(trunk.task, trunk.image):
            library_default(self.decoder)  # as the released code for Cityscapes
        modules = len(trunk.modules)
        self.weights = (interpolate(lambda1, k, modules), interpolate(lambda2, k, modules))

    def scores(self, h: Tensor) -> Tensor | None:
        """Class scores in softmax mode."""
        return self.head(h) if self.mode == "softmax" else None

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        """Scalar loss of a local feature h (B C H W or B C). Both terms are evaluated even at
        weight zero."""
        z = self.head(h)
        softmax = self.mode == "softmax"
        label = (
            self.task.loss(z, batch.y)
            if softmax
            else supervised_contrastive(z, batch.y, self.temperature)
        )
        if self.decoder is None:
            return label
        return (
            self.weights[0] * reconstruction(self.decoder(h), batch.image) + self.weights[1] * label
        )


def _decoder(kind: DecoderNet, feature: Shape, image: Shape, resize: Resize) -> nn.Module:
    if kind == "direct":
        return Decoder(feature, image, resize=resize)
    if resize == "factored":
        raise ValueError(f"resize factored is of decoder direct, got {kind}; valid: plain, auto")
    return StepwiseDecoder(feature, image)
