"""Joint: all modules move on every batch, one after the other; each module's graph is freed before
the next is built."""

from __future__ import annotations

from torch import Tensor

from modulewise.method import Batch, Method
from modulewise.optim import ModuleOptimizers
from modulewise.schedules._base import Precision, Schedule, descend


class Joint(Schedule):
    """All modules on every batch."""

    def step(
        self, method: Method, batch: Batch, optimizers: ModuleOptimizers, precision: Precision
    ) -> dict[str, Tensor]:
        """One optimiser step of all modules."""
        return descend(method.losses(batch), optimizers, precision)
