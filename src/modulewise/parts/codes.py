"""Codes: stand-ins for what modules give, which a step moves while no parameter does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from modulewise.method import Batch, Loss, Method
from modulewise.parts.precision import unrounded
from modulewise.parts.statistics import frozen_statistics


class Coded(Method):
    """A method whose step moves a code at every cut, and then lets each module learn from the codes
    on both sides of it; a single module learns by backpropagation.

    Nothing is rounded to bf16: what codes and modules learn from are differences, far smaller than
    what they are of. BatchNorm counts the forward pass that codes start from, and no other.
    """

    joint_only = True
    feedback = "later"
    locked = "later"

    def settled(self, batch: Batch, entering: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Move the codes; parameters stay as they are.

        Args:
            batch: of the step.
            entering: what enters each module in the forward pass, images first.

        Returns:
            What enters each module; and what each module but the last is to give.
        """
        raise NotImplementedError  # abstract

    def distance(self, h: Tensor, target: Tensor) -> Tensor:
        """Scalar between what a module gives and what it is to give."""
        raise NotImplementedError  # abstract

    def misfit(self, k: int, x: Tensor, targets: list[Tensor], batch: Batch) -> Tensor:
        """Of module k on its input x: of the task for the last, of its target for others."""
        with unrounded(x), frozen_statistics(self.trunk[k]):
            h = self.trunk[k](x)
            if k == self.k - 1:
                return self.task.loss(h, batch.y)
            return self.distance(h, targets[k])

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Codes, then the loss of every module given them."""
        if self.k == 1:
            value = self.task.loss(self.trunk[0](batch.x), batch.y)
            yield Loss(value, self.of_module(0), "module_0")
            return
        entering, targets = self.settled(batch, forward(self.trunk, batch.x))
        for k in range(self.k):
            value = self.misfit(k, entering[k].detach(), targets, batch)
            yield Loss(value, self.of_module(k), f"module_{k}", surrogate=k < self.k - 1)


@torch.no_grad()
def forward(modules: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """What enters each module in a forward pass from x, without a graph: x, and a code for every
    cut. The last module runs too, so that its BatchNorm counts the pass."""
    entering = []
    with unrounded(x):
        for module in modules:
            entering.append(x)
            x = module(x)
    return entering


def gradient(objective: Callable[[Tensor], Tensor], code: Tensor) -> Tensor:
    """Gradient of a scalar function of a code, at the code; the graph is gone, and parameters that
    the function reads get none.

    Args:
        objective: the function.
        code: without a graph.
    """
    leaf = code.detach().requires_grad_()
    with unrounded(code):  # a view, for torch's counter of operations cannot watch a leaf here
        return torch.autograd.grad(objective(leaf.view_as(leaf)), leaf)[0]
