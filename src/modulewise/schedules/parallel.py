"""Parallel: every module in a process of its own, on a GPU or a CPU core of its own, at work on its
next batch as soon as its input is there.

A module that needs nothing back from later ones waits for its input alone: there is no backward
bubble. While module k learns on a batch, module k - 1 learns on the next one, and so on; the
trainer's process makes the batches and gathers the losses. An epoch begins and ends with all
modules at one batch, so that each is idle for K - 1 steps of an epoch.

Each module sees the batches, inputs and learning rates that it sees under the joint schedule, in
the same order, and has an optimiser of its own: weights and losses are those of the joint schedule,
bit for bit. A step that draws random numbers (dropout, second views) would draw them in another
order; it is refused.

At the end of an epoch, and before a checkpoint, weights and optimisers' states come home to the
trainer's process. When it is to save, it feeds no more batches and goes on until none is under way:
the checkpoint is one that the joint schedule could have made.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from modulewise.config.training import TrainConfig
from modulewise.data.base import Data
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.optim import ModuleOptimizers, learning_rate
from modulewise.schedules._base import Precision, Schedule
from modulewise.schedules._laps import Laps
from modulewise.schedules._pool import Pool
from modulewise.schedules._worker import Order, Start

log = logging.getLogger(__name__)


class Parallel(Schedule):
    """One process a module.

    Args:
        training: the cell's settings.
        k: number of modules.
        batches: of an epoch.
        seed: of the run.

    Attributes:
        devices: one a module; by default the CPU, or the first K GPUs.
        laps: seconds of the modules' steps so far, waiting not counted.

    Raises:
        ValueError: settings that do not go with it.
    """

    def __init__(self, training: TrainConfig, k: int, batches: int, seed: int) -> None:
        super().__init__(training, k, batches, seed)
        if training.compile != "off":
            raise ValueError("schedule parallel compiles nothing; set compile: off")
        self.devices: list[torch.device] = []
        self.laps = Laps(k)
        self.epochs = training.epochs
        self.waiting: deque[tuple[Batch, float]] = deque()
        self.fed: deque[Batch] = deque()
        self.stopping = False
        self.pool: Pool | None = None

    def check(self, method: Method, where: str) -> None:
        """Refuse what draws random numbers in a step, as far as it can be told."""
        name = type(method).__name__.lower()
        if method.two_views:
            raise InvalidInput(
                f"{where}: schedule parallel: {name} compares two augmentations of an image, which "
                f"one process makes; valid schedule: joint"
            )
        for part in method.modules():
            if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0:
                raise InvalidInput(
                    f"{where}: schedule parallel: the network or its helpers have dropout, whose "
                    f"random numbers the processes do not share; valid schedule: joint"
                )

    def begin(self, method: Method, phase: int, epochs: int) -> None:
        """Nothing but the run's length changes."""
        self.epochs = epochs
        super().begin(method, phase, epochs)

    def batches(
        self, method: Method, data: Data, epoch: int, done: int, precision: Precision
    ) -> Iterator[Batch]:
        """The batches of an epoch; two a module are under way."""
        while self.fed:  # another epoch was left in the middle
            self._collect()
        self.stopping = False
        source = enumerate(data.batches(epoch, done), done)
        while True:
            while not self.stopping and len(self.fed) + len(self.waiting) < 2 * self.k:
                if (found := next(source, None)) is None:
                    break
                self.waiting.append((found[1], self._rate(epoch, found[0])))
            if not (self.fed or self.waiting):
                break
            yield self.fed[0] if self.fed else self.waiting[0][0]
        self._home()
        if epoch == self.epochs:
            self._close()

    def _rate(self, epoch: int, number: int) -> float:
        """Learning rate of an epoch's batch, both as the trainer counts them."""
        done = number / self.steps_per_epoch if self.training.lr_update == "step" else None
        return learning_rate(self.training, epoch, self.epochs, done)

    def step(
        self, method: Method, batch: Batch, optimizers: ModuleOptimizers, precision: Precision
    ) -> dict[str, Tensor]:
        """Give the processes what waits, and wait until all have learnt on the oldest batch."""
        if self.pool is None:
            self.method, self.optimizers = method, optimizers
            self.pool = Pool(self._starts(method, batch, optimizers, precision))
        while self.waiting:
            batch, rate = self.waiting.popleft()
            tensors = (batch.x.cpu(), batch.y.cpu(), batch.image.cpu(), batch.index.cpu())
            self.pool.feed(Order(tensors, rate))
            self.fed.append(batch)
        return self._collect()

    def _collect(self) -> dict[str, Tensor]:
        """The losses on the oldest batch."""
        assert self.pool
        reports = self.pool.collect()
        self.fed.popleft()
        self.laps.add([r.seconds for r in reports])
        return {name: torch.tensor(v) for r in reports for name, v in r.losses.items()}

    def _starts(
        self, method: Method, batch: Batch, optimizers: ModuleOptimizers, precision: Precision
    ) -> list[Start]:
        states, training = optimizers.state_dict(), self.training.model_dump_json()
        cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
        places = self.places(batch.x.device)
        if places[0].type == "cpu" and self.k * threads > cores:
            log.warning(
                f"schedule parallel: {self.k} modules of {threads} thread(s) share {cores} CPU "
                f"cores: they wait for one another"
            )
        return [
            Start(k, method, training, states.get(k), precision, device, self.ready)
            for k, device in enumerate(places)
        ]

    def places(self, on: torch.device) -> list[torch.device]:
        """The modules' devices.

        Args:
            on: the run's own.

        Raises:
            InvalidInput: more modules than GPUs.
        """
        if self.devices:
            return self.devices
        if on.type == "cuda":
            there = torch.cuda.device_count()
            if there < self.k:
                raise InvalidInput(
                    f"schedule parallel: {self.k} modules need {self.k} GPUs, {there} "
                    f"{'is' if there == 1 else 'are'} visible; give more, or device cpu"
                )
            return [torch.device("cuda", k) for k in range(self.k)]
        return [on] * self.k

    def settled(self) -> bool:
        """Feeds no more batches until none is under way; then weights and states are home."""
        self.stopping = bool(self.fed)
        if not self.fed:
            self._home()
        return not self.fed

    def _home(self) -> None:
        """Bring weights and optimisers' states to the trainer's process."""
        if self.pool is None:
            return
        found = self.pool.home()
        for own, _ in found:
            self.method.load_state_dict(own, strict=False)
        self.optimizers.load_state_dict({k: state for k, (_, state) in enumerate(found) if state})

    def _close(self) -> None:
        if self.pool:
            self.pool.close()
        self.pool = None

    def memory_step(self, done: int) -> bool:
        """Never: the trainer's process holds no activations."""
        return False

    def module_seconds(self) -> list[float] | None:
        """Mean seconds of a step of each module."""
        return self.laps.means()

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far."""
        return self.laps.state_dict()

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.laps.load_state_dict(saved)
