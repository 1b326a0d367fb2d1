"""Rotation: in every step one module learns, the next one some steps later; the others only pass
the batch on. Which one is a state that a stopped run must keep."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modulewise.config.training import TrainConfig
from modulewise.config.types import Count
from modulewise.method import Batch, Method
from modulewise.optim import ModuleOptimizers
from modulewise.schedules import Precision, Schedule, descend


class Rotation(Schedule):
    """One module a step.

    Args:
        training: the cell's settings.
        k: number of modules.
        batches: of an epoch.
        seed: unused.
        stay: Number of steps that a module has in a row.
    """

    def __init__(
        self, training: TrainConfig, k: int, batches: int, seed: int, *, stay: Count = 1
    ) -> None:
        super().__init__(training, k, batches, seed)
        self.updates, self.stay, self.made = k, stay, 0

    def step(
        self, method: Method, batch: Batch, optimizers: ModuleOptimizers, precision: Precision
    ) -> dict[str, Tensor]:
        """Carry the batch to the module whose turn it is, and let it learn."""
        turn = self.made // self.stay % self.k
        self.made += 1
        with torch.no_grad(), precision():
            state = method.initial_state(batch.x)
            for k in range(turn):
                state = method.forward_module(k, state)
        return descend(method.local(turn, batch, state), optimizers, precision, turn)[0]

    def batches(self, method, data, epoch, done, precision):  # type: ignore[no-untyped-def]
        """Every batch once a module."""
        for step in range(done, self.updates * data.steps):
            yield data.batch((epoch - 1) * data.steps + step // self.updates)

    def state_dict(self) -> dict[str, Any]:
        """The count of steps."""
        return {"made": self.made}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put it back."""
        self.made = saved["made"]
