"""What the trainer asks of a schedule, with the answers of joint training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from modulewise.config.training import TrainConfig
from modulewise.data.base import Data
from modulewise.method import Batch, Loss, Method, State
from modulewise.optim import ModuleOptimizers

Precision = Callable[[], AbstractContextManager[Any]]
"""Makes the context in which forward passes run: bf16 autocast, or nothing."""


@dataclass(frozen=True)
class Phase:
    """A stretch of a run with optimisers of its own, and the learning rate from its start."""

    epochs: int
    training: TrainConfig
    """Settings of its optimisers and learning rate."""


class Schedule:
    """Which modules are trained when. The defaults are those of joint training but for `step`.

    Args:
        training: the cell's settings.
        k: number of modules.
        batches: of an epoch.
        seed: of random streams.

    Attributes:
        updates: steps that take the place of one joint step.
        phase: number of the present phase, from 0.
        ready: makes another process compute like this one: threads, numerics, memory.
    """

    updates = 1
    ready: Callable[[], object] = nullcontext

    def __init__(self, training: TrainConfig, k: int, batches: int, seed: int) -> None:
        self.training, self.k, self.steps_per_epoch, self.seed = training, k, batches, seed
        self.phase = 0

    def phases(self, epochs: int) -> list[Phase]:
        """The phases, given the epochs that the budget allows. Their number is always the same;
        one of no epochs is left out."""
        return [Phase(epochs, self.training)]

    def trained(self, phase: int) -> range:
        """The modules that learn in a phase."""
        return range(self.k)

    def entered(self, phase: int) -> int:
        """The first module that a step of a phase runs."""
        return 0

    def check(self, method: Method, where: str) -> None:
        """Refuse a method that cannot be trained so; it may be on the meta device.

        Args:
            method: the method.
            where: for the message.

        Raises:
            InvalidInput: it cannot.
        """

    def prepare(self, method: Method, data: Data) -> None:
        """Look at what is going to be trained, and on what."""

    def places(self, on: torch.device) -> list[torch.device]:
        """The devices that the run computes on, a device once for each of its processes.

        Args:
            on: the run's own.
        """
        return [on]

    def begin(self, method: Method, phase: int, epochs: int) -> None:
        """Put the modules in train or eval mode; called before every epoch.

        Args:
            method: whose modules move.
            phase: that the epoch belongs to.
            epochs: of the whole run.
        """
        self.phase = phase
        method.train()

    def batches(
        self, method: Method, data: Data, epoch: int, done: int, precision: Precision
    ) -> Iterator[Batch]:
        """The batches of an epoch's steps (epoch from 1), of which so many are done."""
        return data.batches(epoch, done)

    def step(
        self, method: Method, batch: Batch, optimizers: ModuleOptimizers, precision: Precision
    ) -> dict[str, Tensor]:
        """One step; returns the losses by name, detached."""
        raise NotImplementedError  # abstract

    def settled(self) -> bool:
        """Whether the run can be saved after the last step; where not, the coming steps make it
        so."""
        return True

    def module_seconds(self) -> list[float] | None:
        """Mean seconds of a step of each module so far; `None` where they are not measured."""
        return None

    def memory_step(self, done: int) -> bool:
        """Whether the coming step, of which `done` of the phase came before, is one whose memory
        tells the peak: the second of a module, which finds the optimiser's state there."""
        return done == 1

    def held(self) -> Iterator[Tensor]:
        """All tensors that the schedule keeps between steps."""
        yield from ()

    def extra_flops(self, module_flops: list[float]) -> float:
        """Operations beyond those of the steps so far, given those of each module's forward pass
        for one image."""
        return 0.0

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on exactly."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""


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


def backward(losses: Iterator[Loss], precision: Precision) -> tuple[dict[str, Tensor], State]:
    """Run a method's generator: each loss is built under `precision`, its backward pass runs
    outside of it.

    Returns:
        The losses by name, detached, and what the generator returns: of `Method.local` the state
        that leaves the module.
    """
    values: dict[str, Tensor] = {}
    while True:
        try:
            with precision():
                loss = next(losses)
        except StopIteration as end:
            return values, end.value
        loss.value.backward()
        values[loss.name] = loss.value.detach()
        del loss


def descend(
    losses: Iterator[Loss],
    optimizers: ModuleOptimizers,
    precision: Precision,
    k: int | None = None,
) -> tuple[dict[str, Tensor], State]:
    """Run a method's generator with one step of module k, or of all; gives what `backward`
    gives."""
    with optimizers.update(k):
        return backward(losses, precision)
