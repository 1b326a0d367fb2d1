"""Codes: stand-ins for what modules give, which a step moves while no parameter does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def exact(x: Tensor) -> AbstractContextManager[Any]:
    """Inside, nothing is rounded to bf16: what codes and modules learn from are differences, far
    smaller than what they are of."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


@torch.no_grad()
def forward(modules: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """What enters each module in a forward pass from x, without a graph: x, and a code for every
    cut. The last module runs too, so that its BatchNorm counts the pass."""
    entering = []
    with exact(x):
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
    with exact(code):  # a view, for torch's counter of operations cannot watch a leaf here
        return torch.autograd.grad(objective(leaf.view_as(leaf)), leaf)[0]
