"""Sequential: module after module. In phase p only module p learns; the modules before it are
frozen and in eval mode. Modules after p are not run at all.

Each phase has a fresh optimiser and runs the learning-rate schedule from its start. By default the
budget's epochs are shared out evenly over the K phases; published layer-wise training gives every
phase the whole of it (greedy layer-wise, Belilovsky et al., arXiv 1812.11446), or more and more
(deep cascade learning, Marquez et al., IEEE TNNLS 2018), and settings of its own to the last, which
trains the classifier (pairwise training, Duan et al., arXiv 2005.05541).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from modulewise.config.training import TrainConfig
from modulewise.config.types import PhaseSettings, Whole
from modulewise.errors import parse
from modulewise.method import Batch, Method
from modulewise.optim import ModuleOptimizers
from modulewise.schedules._base import Phase, Precision, Schedule, descend, freeze


class Sequential(Schedule):
    """One module a phase. The default options share the budget's epochs out among the phases.

    Args:
        training: the cell's settings.
        k: number of modules.
        batches: of an epoch.
        seed: of the run.
        epochs: Rule of how many epochs a phase has: the budget is `shared` out evenly among the
            phases, or `each` has all of it.
        growth: Number of epochs that a phase has more than the one before it, where `each` has the
            budget.
        last: Settings of the last phase that differ from the cell's; with `epochs` of its own, the
            budget is that of the phases before it.

    Raises:
        ValueError: fewer epochs than phases that share them, growth of shared epochs, or settings
            of the last phase that do not fit together.
    """

    def __init__(
        self,
        training: TrainConfig,
        k: int,
        batches: int,
        seed: int,
        *,
        epochs: Literal["shared", "each"] = "shared",
        growth: Whole = 0,
        last: PhaseSettings | None = None,
    ) -> None:
        super().__init__(training, k, batches, seed)
        self.shared, self.growth = epochs == "shared", growth
        own = last.model_dump(exclude_none=True) if last else {}
        self.last = parse(TrainConfig, training.model_dump() | own, "sequential.last")
        self.last_epochs: int | None = own.get("epochs")
        if growth and self.shared:
            raise ValueError("sequential: growth needs epochs: each")
        free = k - (self.last_epochs is not None)
        if self.shared and not training.flops and training.epochs < free:
            raise ValueError(
                f"sequential training of {free} modules needs at least {free} epochs, got "
                f"{training.epochs}"
            )

    def phases(self, epochs: int) -> list[Phase]:
        """One a module. Of shared epochs the first phases get what does not divide, and none gets
        less than one."""
        last = [] if self.last_epochs is None else [self.last_epochs]
        n = self.k - len(last)
        free = [
            max(1, epochs // n + (p < epochs % n)) if self.shared else epochs + p * self.growth
            for p in range(n)
        ]
        own = [self.training] * (self.k - 1) + [self.last]
        return [Phase(e, training) for e, training in zip(free + last, own, strict=True)]

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
