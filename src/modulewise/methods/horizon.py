"""Gradient horizon: the loss of module k reaches back through h modules, k - h + 1 to k. In between
local learning and backpropagation.

    g_j = sum over k = j ... min(j + h, K) - 1 of  gamma^(k - j) dL_k / d theta_j
    L_k = CE( a_k(h_k), y ),   L_{K-1} the net's own loss

Features always cross the cuts as they are; only gradients differ. h = 1 is decoupled greedy
learning (arXiv 1901.08164), bit for bit; h >= K is end-to-end training under deep supervision by
all heads. The head a_k learns from L_k alone. gamma (`discount`) weighs the gradient at every cut
it crosses. h = 2 is the idea of overlapping local learning (LoCo, arXiv 2008.01342) and of the
two-module cascade of HPFF (arXiv 2407.05638): its losses, 0.001 for a module alone and 0.999 for
two modules, are gamma = 0.999 here.

How: every module runs once, on an input cut off from its predecessor. The gradient that L_k leaves
at that input is carried back, module by module, while the graphs of the last h modules are kept.
When no further loss can reach module j, its own loss is yielded with the sum of what came back
added as a term of value zero: the one backward pass through its parameters. Memory grows with h,
not with K.

Operations: for h < K losses end at different modules, so that each is carried back by itself, and
all of it is spent beside the backward passes of local learning. For h = K all losses end at the
first module: one backward pass, from the last module to the first, carries and learns at once, and
costs what end-to-end training under all heads costs.

Deviations from the papers:

1. One head and one feature per cut; HPFF runs a module up to three times a step, has a head for
   each level, and weighs the first module's own loss 0.001 where we weigh it 1. Its patch fusion is
   absent.
2. LoCo shares blocks between neighbouring modules; here the modules are disjoint and only the
   gradients overlap.
3. Heads are `1c2f`, as in our `dgl`.
4. For h < K, losses 0 ... h-1 all reach module 0, so that they travel together; each later one
   makes h - 1 passes of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modulewise.config.types import Count, Fraction, LabelHead
from modulewise.method import Batch, Loss, Method
from modulewise.models.network import CutNetwork
from modulewise.parts.heads import label_heads
from modulewise.parts.precision import unrounded


@dataclass
class Reached:
    """A module whose graph is alive: what its loss was, where it begins and ends, and what later
    losses want of its output."""

    k: int
    x: Tensor
    h: Tensor
    value: Tensor
    wanted: Tensor | None = None

    def total(self) -> Tensor:
        """The module's loss, with the gradient that came back from later ones."""
        return self.value if self.wanted is None else self.value + Carry.apply(self.h, self.wanted)


class Carry(torch.autograd.Function):
    """A zero whose gradient with respect to h is a given tensor."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, gradient: Tensor) -> Tensor:
        """Zero."""
        ctx.save_for_backward(gradient)
        return torch.zeros((), dtype=torch.promote_types(h.dtype, torch.float32), device=h.device)

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None]:
        """The given tensor."""
        (gradient,) = ctx.saved_tensors
        return gradient * scale.to(gradient.dtype), None


class Horizon(Method):
    """Local losses that reach back through some modules.

    Args:
        trunk: the network, cut.
        reach: h, modules that a loss reaches, its own included; K if larger.
        discount: gamma, weight of the gradient at every cut.
        head: architecture of the local heads.
        feature_dim: units of their hidden layer.
    """

    joint_only = True

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        reach: Count = 2,
        discount: Fraction = 1.0,
        head: LabelHead = "1c2f",
        feature_dim: Count = 128,
    ) -> None:
        super().__init__(trunk)
        self.reach, self.discount = min(reach, self.k), discount
        self.locked = "later" if self.reach > 1 else "input"
        self.heads = label_heads(trunk, head, feature_dim)
        if head == "shared":
            self.feedback = "later"

    @property
    def horizon(self) -> int:
        """h."""
        return self.reach

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """The loss of every module, when no later loss can reach it any more: for h = K that of the
        last module first."""
        window: list[Reached] = []
        h = batch.x
        for k in range(self.k):
            x = h.detach().requires_grad_(k > 0 and self.reach > 1)
            h = self.trunk[k](
                x.view_as(x)
            )  # no leaf: torch's counter of operations cannot watch one during autograd.grad
            window.append(
                Reached(
                    k, x, h, self.task.loss(h if k == self.k - 1 else self.heads[k](h), batch.y)
                )
            )
            if self.reach - 1 <= k and self.reach < self.k:
                self._carry_back(window, together=k == self.reach - 1)
                yield self._loss(window.pop(0))
        if self.reach == self.k:
            yield from self._to_the_first(window)
        while window:
            yield self._loss(window.pop(0))

    def _to_the_first(self, window: list[Reached]) -> Iterator[Loss]:
        """The losses of all modules, the last one's first: its backward pass leaves at the module's
        input what the module before wants."""
        while window:
            module = window.pop()
            yield self._loss(module)
            if window:
                assert module.x.grad is not None
                window[-1].wanted = self.discount * module.x.grad

    def _loss(self, done: Reached) -> Loss:
        return Loss(done.total(), self.of_module(done.k), f"module_{done.k}")

    def _carry_back(self, window: list[Reached], together: bool) -> None:
        """Carry gradients from the last module of the window to the first: of all their losses
        together, or of the last loss alone."""
        gradient: Tensor | None = None
        for before, module in reversed(list(itertools.pairwise(window))):
            with unrounded(module.x):
                if together:
                    source = module.total()
                else:
                    source = module.value if gradient is None else Carry.apply(module.h, gradient)
                gradient = (
                    self.discount * torch.autograd.grad(source, module.x, retain_graph=True)[0]
                )
                before.wanted = gradient if before.wanted is None else before.wanted + gradient
