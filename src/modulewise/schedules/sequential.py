"""Sequential: module after module. In phase p only module p learns; the modules before it are
frozen and in eval mode.

The budget's epochs are shared out evenly over the K phases, and each phase runs the learning-rate
schedule from its start with a fresh optimiser. Modules after p are not run at all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modulewise.config.training import TrainConfig
from modulewise.method import Batch, Method
from modulewise.optim import ModuleOptimizers
from modulewise.schedules._base import Precision, Schedule, descend, freeze


class Sequential(Schedule):
    """One module a phase.

    Raises:
        ValueError: fewer epochs than modules.
    """

    def __init__(self, training: TrainConfig, k: int, batches: int, seed: int) -> None:
        super().__init__(training, k, batches, seed)
        if not (training.flops or training.seconds) and training.epochs < k:
            raise ValueError(
                f"sequential training of {k} modules needs at least {k} epochs, got "
                f"{training.epochs}"
            )

    def phases(self, epochs: int) -> list[int]:
        """Epochs of every phase; the first ones get what does not divide, none gets less than
        one."""
        k = self.k
        return [max(1, epochs // k + (p < epochs % k)) for p in range(k)]

    def trained(self, phase: int) -> range:
        """The phase's module alone."""
        return range(phase, phase + 1)

    def begin(self, method: Method, phase: int, epochs: int) -> None:
        """Freeze the modules before `phase`, with their helpers."""
        self.phase = phase
        freeze(method, lambda k: k < phase)

    def step(
        self, method: Method, batch: Batch, optimizers: ModuleOptimizers, precision: Precision
    ) -> dict[str, Tensor]:
        """Carry the batch to the phase's module without gradients, then one step of it alone."""
        with torch.no_grad(), precision():
            state = method.initial_state(batch.x)
            for k in range(self.phase):
                state = method.forward_module(k, state)
        return descend(method.local(self.phase, batch, state), optimizers, precision, self.phase)
