"""PredSim (Nøkland & Eidnes, ICML 2019, arXiv 1901.06656): every layer predicts the label and makes
samples of one class alike.

    L_k  = (1 - beta) pred_k + beta sim_k,   beta = 0.99
    pred = CE( W_k pool(h_k) + b_k, y ),   W_k zero at the start
    sim  = mean over i, j of ( S(c_k(h_k)) - S(onehot(y)) )_ij ^2,   c_k a 3x3 convolution

S_ij is the cosine of samples i and j after each sample's own mean is taken off. Maps are first
replaced by the standard deviation of every channel over its pixels; flat features have a linear
layer for c_k. `loss: pred` is pred_k alone, `loss: sim` is sim_k alone, each without the other's
weights. Modules have the scores of their decoder, and with `sim` none.

Maps are averaged before W_k until at most `decoder_dim` numbers are left (`parts/pooling.py`).

Deviations from the paper:

1. All modules are updated at the end of a batch; in the released code a layer is updated inside its
   forward pass, after its output was made. The updates are the same.
2. A module's loss sees what leaves the module: behind the pooling of a VGG's layer, in the released
   code before it.
3. The last module, the last hidden layer with the net's classifier, has the cross-entropy of that
   classifier and no other loss; in the released code the last hidden layer has a local loss too and
   the classifier learns alone, its loss times 1 - beta.
4. ReLU throughout; the released commands have a leaky ReLU of slope 0.01 for sim and predsim.
5. A sample whose features are all equal is alike to none, and gets no gradient; the released code
   divides by its norm plus 1e-8.
6. Pooling windows that stand out of a map average what they cover; the released code pads.
7. Modules may hold several stages; in the paper every module is one layer.
8. The biologically plausible variant, the unsupervised losses and batches of few classes
   (CIFAR-100) are absent.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from modulewise.config.types import Count, Fraction
from modulewise.method import Batch, LocalMethod
from modulewise.models.network import CutNetwork, Shape
from modulewise.parts.pooling import flattened
from modulewise.parts.precision import in_fp32, unrounded
from modulewise.task import need_class_labels


class Predsim(LocalMethod):
    """Local prediction and similarity matching.

    Args:
        trunk: the network, cut.
        loss: `predsim`, or one of its two parts alone.
        beta: share of sim, of `predsim`.
        decoder_dim: numbers that maps are pooled to at most before the linear decoder.

    Raises:
        ValueError: `predsim` with a share of zero or one.
    """

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        loss: Literal["predsim", "pred", "sim"] = "predsim",
        beta: Fraction = 0.99,
        decoder_dim: Count = 4096,
    ) -> None:
        super().__init__(trunk)
        need_class_labels(trunk.task, trunk.image, "predsim")
        if loss == "predsim" and not 0 < beta < 1:
            raise ValueError(
                f"predsim needs a beta between 0 and 1, got {beta}; set loss: pred or loss: sim"
            )
        self.beta = {"predsim": beta, "pred": 0.0, "sim": 1.0}[loss]
        shapes = trunk.cut_shapes
        if self.beta < 1:
            self.heads.extend(_decoder(s, decoder_dim, self.task.outputs) for s in shapes)
        self.views = nn.ModuleList(_view(s) for s in shapes if self.beta > 0)

    def local_loss(self, k: int, h: Tensor, batch: Batch) -> Tensor:
        """The two parts, as far as they have a share."""
        parts = []
        if self.beta < 1:
            parts.append((1 - self.beta) * super().local_loss(k, h, batch))
        if self.beta > 0:
            parts.append(self.beta * unlikeness(self.views[k](h), batch.y, self.task.outputs))
        return torch.stack(parts).sum()


def unlikeness(h: Tensor, y: Tensor, classes: int) -> Tensor:
    """Mean squared difference of the similarities of features (B C H W or B C) and of their labels
    (B): those of one-hot labels are 1 in a class and -1 / (classes - 1) between classes."""
    found = similarity(h)
    same = (y[:, None] == y[None, :]).to(found.dtype)
    return (found - (classes * same - 1) / (classes - 1)).square().mean()


def similarity(h: Tensor) -> Tensor:
    """Similarities (B B) of features (B C H W or B C), in fp32 at least.

    Maps of one pixel or up to three channels are flattened, as in the released code.
    """
    with unrounded(h):
        h = in_fp32(h)
        if h.dim() == 4 and h.shape[1] > 3 and h[0, 0].numel() > 1:
            h = h.flatten(2).std(dim=2)
        h = h.flatten(1)
        h = h - h.mean(1, keepdim=True)
        norm = torch.linalg.vector_norm(h, dim=1, keepdim=True)
        unit = h * (norm > 1e-8) / norm.clamp(min=1e-8)
        return unit @ unit.T


def _decoder(feature: Shape, most: int, outputs: int) -> nn.Sequential:
    flatten, size = flattened(feature, most)
    linear = nn.Linear(size, outputs)
    nn.init.zeros_(linear.weight)
    return nn.Sequential(*flatten, linear)


def _view(feature: Shape) -> nn.Module:
    """What is compared: a linear map of the feature to as many channels or units."""
    c = feature[0]
    if len(feature) == 1:
        return nn.Linear(c, c, bias=False)
    return nn.Conv2d(c, c, 3, padding=1, bias=False)
