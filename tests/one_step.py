"""What one step of a method leaves, and copies of it that differ in one module."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor

from cases import Row, a_batch
from modulewise.method import Method

Gradients = list[dict[str, Tensor]]
"""Of every parameter, by module."""


def module_of(name: str) -> int:
    """The module that a parameter or a buffer belongs to: the second part of its name."""
    return int(name.split(".")[1])


def gradients(method: Method) -> Gradients:
    """What one step leaves, after as many like it as the method looks back on."""
    for _ in range(1 + method.history):
        torch.manual_seed(0)
        method.zero_grad()
        for loss in method.losses(a_batch()):
            loss.value.backward()
    found: Gradients = [{} for _ in range(method.k)]
    for name, p in method.named_parameters():
        assert p.grad is not None
        found[module_of(name)][name] = p.grad.clone()
    return found


def ready(row: Row) -> Method:
    """The method in train mode; where feedback is learnt, after the K - 1 steps it takes to reach
    the first module."""
    method = row.build().train()
    optimizer = torch.optim.SGD(method.parameters(), 0.05)
    for _ in range(method.k - 1 if method.feedback == "later" else 0):
        gradients(method)
        optimizer.step()
    return method


@torch.no_grad()
def disturb(tensors: Iterable[Tensor]) -> None:
    """Add a tenth of standard normal noise."""
    for t in tensors:
        t.add_(torch.randn(t.shape, generator=torch.Generator().manual_seed(1)), alpha=0.1)


def disturbed(method: Method, m: int) -> Method:
    """A copy with other weights in module m, its helpers included."""
    other = copy.deepcopy(method)
    disturb(p for name, p in other.named_parameters() if module_of(name) == m)
    return other


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
