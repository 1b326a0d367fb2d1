"""Joint: all modules move on every batch, one after the other. Each module has made its step, and
its graph and gradients are freed, before the next is built; where a method needs something back
from later modules, all modules step at the end.

With `accumulate` a batch is cut into micro-batches: their gradients add up to those of the whole
batch, each weighted by its share of the images, and all modules step at the end.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from modulewise.config.training import TrainConfig
from modulewise.method import Batch, Method
from modulewise.optim import ModuleOptimizers
from modulewise.schedules._base import Precision, Schedule, backward, descend
from modulewise.schedules._laps import Laps
from modulewise.schedules._micro import split


class Joint(Schedule):
    """All modules on every batch.

    Args:
        training: the cell's settings.
        k: number of modules.
        batches: of an epoch.
        seed: of random streams.

    Attributes:
        laps: seconds of the modules' steps, where each makes its step before the next one runs.
    """

    def __init__(self, training: TrainConfig, k: int, batches: int, seed: int) -> None:
        super().__init__(training, k, batches, seed)
        self.laps = Laps(k)

    def step(
        self, method: Method, batch: Batch, optimizers: ModuleOptimizers, precision: Precision
    ) -> dict[str, Tensor]:
        """One optimiser step of all modules."""
        if self.training.accumulate > 1:
            return self._accumulated(method, batch, optimizers, precision)
        if method.joint_only:
            return descend(method.losses(batch), optimizers, precision)[0]
        values: dict[str, Tensor] = {}
        # A recorded step waits for nothing; on several devices a module's step is another's time.
        if self.k > 1 and not self.training.cuda_graphs and self.training.devices == 1:
            self.laps.start(batch.x.device)
        with precision():
            state = method.initial_state(batch.x)
        for k in range(method.k):
            losses, state = descend(method.local(k, batch, state), optimizers, precision, k)
            values |= losses
            self.laps.lap(k)
        optimizers.settle()
        return values

    def _accumulated(
        self, method: Method, batch: Batch, optimizers: ModuleOptimizers, precision: Precision
    ) -> dict[str, Tensor]:
        """Gradients are kept as means over as many images as the present micro-batch has, then over
        all: what a method reads of a loss's own gradients is not scaled."""
        parts = split(batch, self.training.accumulate)
        sizes = [len(part.x) for part in parts]
        values: dict[str, Tensor] = {}
        with optimizers.update():
            for part, size, following in zip(parts, sizes, [*sizes[1:], sum(sizes)], strict=True):
                for name, value in backward(method.losses(part), precision)[0].items():
                    share = value * (size / sum(sizes))
                    values[name] = values[name] + share if name in values else share
                optimizers.scale_gradients(size / following)
        return values

    def module_seconds(self) -> list[float] | None:
        """Mean seconds of a step of each module."""
        return self.laps.means()

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far."""
        return self.laps.state_dict()

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.laps.load_state_dict(saved)
