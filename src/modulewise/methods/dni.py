"""Synthetic gradients (decoupled neural interfaces: DNI, cDNI; Jaderberg et al., arXiv 1608.05343):
a synthesiser predicts the gradient that a module's output will get, and the module learns from the
prediction.

    module k learns from       < h_k, s_k(h_k, y) > / B,  s_k given; the last from the task's loss
    synthesiser k minimises    mean over images and elements of ( s_k(h_k, y) - B d_k )^2
    d_k = dL_{k+1} / dh_k      L_{k+1} what module k + 1 learns from: bootstrapped

B is the number of images: what is predicted are gradients of single images, whose size does not
depend on the batch. A synthesiser sees the labels y if the context is `label` (cDNI). Its last
layer starts at zero, so that a module learns nothing before its synthesiser has: feedback takes a
step a module to come down. The stages of a module need not wait for later modules, their
synthesiser waits for the next one.

A synthesiser of maps is three convolutions 5x5 with as many channels between them as the paper's
net, one of vectors three fully connected layers; BatchNorm and ReLU stand before the second and
the third. Released code for a comparison (eugenium/DGL) notes that DNI does not converge with SGD
and trains with Adam.

Deviations from the paper:

1. Gradients of single images are predicted, B times those of the batch's mean, which the released
   code predicts: another scale of what a synthesiser has to reach, and so another rate at which
   its steps reach it, by Adam too.
2. The label's one-hot vector goes through a linear map that is added to what the first layer gives,
   as in the released code; the paper concatenates it with the feature, which is the same for
   vectors, and for maps but at their borders.
3. Two hidden layers everywhere unless the option `layers` says otherwise; the paper has none, one
   or two, by network.
4. No synthetic inputs: modules run one after the other.
5. A synthesiser is trained by the optimiser and the rate of its module. Its last layer's bias
   starts at zero, too, and layers before a BatchNorm have none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.config.types import Count, Whole
from modulewise.method import Batch, Loss, Method
from modulewise.models.network import CutNetwork, Shape
from modulewise.task import class_labels


class Synthesiser(nn.Module):
    """A feature, and perhaps the labels of its images, to a tensor of its shape; zero at first.

    Args:
        feature: shape of one feature, (C, H, W) or (C,).
        width: channels or units of hidden layers.
        layers: number of hidden layers.
        classes: number of classes, if it is told the labels.
    """

    def __init__(self, feature: Shape, width: int, layers: int, classes: int | None) -> None:
        super().__init__()
        maps = len(feature) > 1
        widths = [feature[0], *[width] * layers, feature[0]]
        self.first, *others = (
            _layer(a, b, maps, bias=i == layers)
            for i, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.context = None if classes is None else nn.Linear(classes, widths[1], bias=False)
        norm = nn.BatchNorm2d if maps else nn.BatchNorm1d
        hidden = zip(widths[1:], others, strict=False)
        self.rest = nn.Sequential(
            *(part for w, layer in hidden for part in (norm(w), nn.ReLU(inplace=True), layer))
        )
        last = others[-1].parameters() if others else self.parameters()
        for p in last:
            nn.init.zeros_(p)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        """B C or B C H W, and labels (B), which are read with a context alone -> as h."""
        z = self.first(h)
        if self.context is not None:
            labels = torch.arange(self.context.in_features, device=y.device) == y[:, None]
            told = self.context(labels.to(h.dtype))
            z = z + told.view(*told.shape, *[1] * (h.dim() - 2))
        return self.rest(z)


class Dni(Method):
    """Modules that learn from predicted gradients.

    Args:
        trunk: the network, cut.
        context: what synthesisers are told beside the feature: nothing, or the images' labels.
        layers: number of their hidden layers.
        channels: of a hidden layer, for maps.
        units: of a hidden layer, for vectors.

    Raises:
        ValueError: labels are asked for, and the task has not one per image.
    """

    joint_only = True
    feedback = "later"

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        context: Literal["none", "label"] = "none",
        layers: Whole = 2,
        channels: Count = 128,
        units: Count = 1024,
    ) -> None:
        super().__init__(trunk)
        if context == "label" and not class_labels(trunk.task, trunk.image):
            raise ValueError("context label needs one class label per image; valid here: none")
        classes = trunk.task.outputs if context == "label" else None
        self.synthesisers = nn.ModuleList(
            Synthesiser(shape, channels if len(shape) > 1 else units, layers, classes)
            for shape in trunk.cut_shapes
        )

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """For each module its own loss, then that of its predecessor's synthesiser."""
        h, images, last = batch.x, len(batch.x), self.k - 1
        predicted: list[Tensor] = []
        for k in range(self.k):
            x = h.detach().requires_grad_(k > 0)
            h = self.trunk[k](x)
            if k < last:
                predicted.append(self.synthesisers[k](h.detach(), batch.y))
                value = (h * predicted[k].detach() / images).sum()
            else:
                value = self.task.loss(h, batch.y)
            yield Loss(value, (f"trunk/{k}",), f"module_{k}", surrogate=k < last)
            if k > 0:
                assert x.grad is not None
                error = F.mse_loss(predicted[k - 1], images * x.grad)
                yield Loss(error, (f"synthesisers/{k - 1}",), f"synthesiser_{k - 1}", True)


def _layer(a: int, b: int, maps: bool, bias: bool) -> nn.Module:
    return nn.Conv2d(a, b, 5, padding=2, bias=bias) if maps else nn.Linear(a, b, bias=bias)
