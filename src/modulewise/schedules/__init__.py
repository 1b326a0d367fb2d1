"""Schedules: who moves when. Each file has `phases`, `begin` and `step`, and drives a method's
generators and the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from modulewise.method import Loss, Method
from modulewise.optim import Optimiser

Precision = Callable[[], AbstractContextManager[Any]]
"""Makes the context in which forward passes run: bf16 autocast, or nothing."""


def freeze(method: Method, frozen: Callable[[int], bool]) -> None:
    """Put the modules k with `frozen(k)` and their helpers in eval mode, all others in train
    mode."""
    method.train()
    for name, child in method.named_children():
        if isinstance(child, nn.ModuleList):
            for k, part in enumerate(child):
                part.train(not frozen(k))
        elif any(map(frozen, range(method.k))):
            raise TypeError(
                f"{type(method).__name__}.{name} is no list over modules: it cannot be trained one "
                f"by one"
            )


def descend(
    losses: Iterator[Loss], optimiser: Optimiser, precision: Precision
) -> dict[str, Tensor]:
    """Run a method's generator: each loss is built under `precision`, its backward pass runs
    outside of it; then one step.

    Returns:
        The losses by name, detached.
    """
    optimiser.zero_grad()
    values: dict[str, Tensor] = {}
    while True:
        with precision():
            loss = next(losses, None)
        if loss is None:
            break
        loss.value.backward()
        values[loss.name] = loss.value.detach()
        del loss
    optimiser.step()
    return values
