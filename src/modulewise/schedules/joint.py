"""Joint: all modules move on every batch, one after the other; each module's graph is freed before
the next is built."""

from __future__ import annotations

from torch import Tensor

from modulewise.method import Batch, Method
from modulewise.optim import Optimiser
from modulewise.schedules import Precision, descend


def phases(k: int, epochs: int) -> list[int]:
    """One phase of all epochs."""
    return [epochs]


def trained(k: int, phase: int) -> range:
    """All K modules."""
    return range(k)


def begin(method: Method, phase: int) -> None:
    """Everything trains."""
    method.train()


def step(
    method: Method, batch: Batch, optimiser: Optimiser, phase: int, precision: Precision
) -> dict[str, Tensor]:
    """One optimiser step; returns the losses by name, detached."""
    return descend(method.losses(batch), optimiser, precision)
