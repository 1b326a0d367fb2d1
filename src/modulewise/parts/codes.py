"""Codes: stand-ins for what modules give, which a step moves while no parameter does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext

import torch
from torch import Tensor, nn


@torch.no_grad()
def forward(modules: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """What enters each module in a forward pass from x, without a graph: x, and a code for every
    cut, in fp32 at least, for steps too small for bf16. The last module runs too, so that its
    BatchNorm counts the pass."""
    entering = []
    for module in modules:
        entering.append(x)
        x = module(x)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
    return entering


def gradient(objective: Callable[[Tensor], Tensor], code: Tensor) -> Tensor:
    """Gradient of a scalar function of a code, at the code; the graph is gone, and parameters that
    the function reads get none.

    Args:
        objective: the function.
        code: without a graph.
    """
    leaf = code.detach().requires_grad_()
    value = objective(leaf.view_as(leaf))  # torch's counter of operations bears no leaf here
    # Without autocast, as backward passes run.
    with nullcontext() if code.is_meta else torch.autocast(code.device.type, enabled=False):
        return torch.autograd.grad(value, leaf)[0]
