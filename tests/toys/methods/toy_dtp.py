"""Difference target propagation (Lee et al., arXiv 1412.7525): modules regress targets that learnt
inverses of the later modules make.

    t_{K-2} = h_{K-2} - beta dL / dh_{K-2}                L the loss of one image
    t_{k-1} = h_{k-1} + g_k(t_k) - g_k(h_k)               k = K-2 ... 1
    module k minimises            1/2 | h_k - t_k |^2     the last the task's loss
    inverse g_k minimises         | g_k(f_k(x)) - x |^2   x = h_{k-1} + sigma n,  n ~ N(0, 1)

Norms are means over images of sums over elements.

Deviations from the paper:

1. Inverses are affine; the noise of a step is drawn from the global stream.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.config.types import Positive
from modulewise.method import Batch, Loss, Method
from modulewise.models.network import CutNetwork
from modulewise.parts.statistics import frozen_statistics


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean over images of the squared distance."""
    return F.mse_loss(a, b, reduction="sum") / len(a)


class ToyDtp(Method):
    """Modules that learn from targets.

    Args:
        trunk: the network, cut.
        beta: step of the first target along the loss's gradient.
        sigma: standard deviation of the noise on which inverses are learnt.
    """

    joint_only = True
    feedback = "later"
    locked = "later"
    passes = 2

    def __init__(self, trunk: CutNetwork, *, beta: Positive = 0.5, sigma: Positive = 0.1) -> None:
        super().__init__(trunk)
        self.beta, self.sigma = beta, sigma
        sizes = [math.prod(shape) for shape in trunk.cut_shapes]
        inverses = [nn.Linear(after, before) for before, after in itertools.pairwise(sizes)]
        self.inverses = nn.ModuleList([nn.Identity(), *inverses])

    @property
    def alive(self) -> int:
        """All: modules wait for targets."""
        return self.k

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """The last module's loss, then, towards the first, each module's and its inverse's."""
        inputs, outputs = [], []
        h, last = batch.x, self.k - 1
        for k, module in enumerate(self.trunk):
            inputs.append(h.detach().requires_grad_(k == last > 0))
            h = module(inputs[k])
            outputs.append(h)
        yield Loss(self.task.loss(h, batch.y), (f"trunk/{last}",), f"module_{last}")
        for k in reversed(range(last)):
            x, h = inputs[k + 1].detach(), outputs[k]
            if k == last - 1:
                target = x - self.beta * len(x) * inputs[last].grad
            else:
                target = self._target(k + 1, x, outputs[k + 1].detach(), target)
            yield Loss(distance(h, target) / 2, (f"trunk/{k}",), f"module_{k}", surrogate=True)
            if k > 0:
                yield Loss(self._inversion(k, inputs[k]), (f"inverses/{k}",), f"inverse_{k}")

    @torch.no_grad()
    def _target(self, k: int, x: Tensor, h: Tensor, target: Tensor) -> Tensor:
        """What module k - 1 should give, x being what it gave, and h what module k gave then."""
        g = self.inverses[k]
        return x + (g(target.flatten(1)) - g(h.flatten(1))).view_as(x)

    def _inversion(self, k: int, x: Tensor) -> Tensor:
        """Error of inverse k near x, the input of module k."""
        with torch.no_grad(), frozen_statistics(self.trunk[k]):
            x = x + self.sigma * torch.randn_like(x)
            h = self.trunk[k](x)
        return distance(self.inverses[k](h.flatten(1)), x.flatten(1))
