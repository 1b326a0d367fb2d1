"""Synthetic gradients (DNI, Jaderberg et al., arXiv 1608.05343): a synthesiser predicts the
gradient that a module's output will get.

    module k learns from       < h_k, s_k(h_k) > / B,  s_k(h_k) given; the last from the task's loss
    synthesiser k minimises    mean over images and elements of ( s_k(h_k) - B d_k )^2
    d_k = dL_{k+1} / dh_k      L_{k+1} what module k + 1 learns from: bootstrapped

B is the number of images: what is predicted are gradients of single images, whose size does not
depend on the batch. The last layer of a synthesiser starts at zero.

Deviations from the paper:

1. Synthesisers are two 3x3 convolutions; no label context, no synthetic inputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.method import Batch, Loss, Method
from modulewise.models.network import CutNetwork
from modulewise.parts.layers import AsMap, conv


def synthesiser(channels: int) -> nn.Sequential:
    """A feature to a tensor with as many elements; zero at first."""
    last = nn.Conv2d(channels, channels, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(AsMap(), conv(channels, channels), last)


class ToyDni(Method):
    """Modules that learn from predicted gradients.

    Args:
        trunk: the network, cut.
    """

    joint_only = True
    feedback = "later"

    def __init__(self, trunk: CutNetwork) -> None:
        super().__init__(trunk)
        self.synthesisers = nn.ModuleList(synthesiser(shape[0]) for shape in trunk.cut_shapes)

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """For each module its own loss, then that of its predecessor's synthesiser."""
        h, images, last = batch.x, len(batch.x), self.k - 1
        predicted: list[Tensor] = []
        for k in range(self.k):
            x = h.detach().requires_grad_(k > 0)
            h = self.trunk[k](x)
            if k < last:
                predicted.append(self.synthesisers[k](h.detach()).view_as(h))
                value = (h * predicted[k].detach() / images).sum()
            else:
                value = self.task.loss(h, batch.y)
            yield Loss(value, (f"trunk/{k}",), f"module_{k}", surrogate=k < last)
            if k > 0:
                error = F.mse_loss(predicted[k - 1], images * x.grad)
                yield Loss(error, (f"synthesisers/{k - 1}",), f"synthesiser_{k - 1}", True)
