"""Sequential: module after module. In phase p only module p learns; the modules before it are
frozen and in eval mode.

The budget's epochs are shared out evenly over the K phases, and each phase runs the learning-rate
schedule from its start with a fresh optimiser. Modules after p are not run at all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modulewise.method import Batch, Method
from modulewise.optim import Optimiser
from modulewise.schedules import Precision, descend, freeze


def phases(k: int, epochs: int) -> list[int]:
    """Epochs of every phase; the first ones get what does not divide, none gets less than one.

    Example:
        >>> phases(4, 10)
        [3, 3, 2, 2]
    """
    return [max(1, epochs // k + (p < epochs % k)) for p in range(k)]


def trained(k: int, phase: int) -> range:
    """The phase's module alone."""
    return range(phase, phase + 1)


def begin(method: Method, phase: int) -> None:
    """Freeze the modules before `phase`, with their helpers."""
    freeze(method, lambda k: k < phase)


def step(
    method: Method, batch: Batch, optimiser: Optimiser, phase: int, precision: Precision
) -> dict[str, Tensor]:
    """Carry the batch to module `phase` without gradients, then one step of that module alone."""
    with torch.no_grad(), precision():
        state = method.initial_state(batch.x)
        for k in range(phase):
            state = method.forward_module(k, state)
    return descend(method.local(phase, batch, state), optimiser, precision)
