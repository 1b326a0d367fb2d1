"""Data that do not fit on the device: pictures are decoded by worker processes as they are needed,
and normalised on the device.

Order and augmentation are functions of (seed, epoch) and of the sample: the same images for any
number of workers, and for a run that is stopped in the middle of an epoch and goes on.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from modulewise.config.training import TrainConfig
from modulewise.data import workers
from modulewise.data.augment import in_unit_range
from modulewise.data.base import Part, Sizes, batches_per_epoch
from modulewise.data.normalised import Normalised
from modulewise.data.samples import Made, Samples, Wanted
from modulewise.method import Batch
from modulewise.rng import generator
from modulewise.task import Task

CPU = torch.device("cpu")


@dataclass(frozen=True)
class SampleParts:
    """A data set on disk."""

    train: Samples
    val: Samples | None
    test: Samples


class Streamed(Normalised):
    """Data that are decoded as they are needed.

    Args:
        parts: the pictures.
        task: what is learnt from them.
        image: shape of a training image (C, H, W).
        statistics: mean and standard deviation per channel, in [0, 1] (C 1 1).
        digest: short hash of the files' names, sizes and labels.
        training: for batch size and memory layout.
        seed: of the order.
        workers: number of processes that decode; 0: the trainer's own.
    """

    augmented = True

    def __init__(
        self,
        parts: SampleParts,
        task: Task,
        image: tuple[int, int, int],
        statistics: tuple[Tensor, Tensor],
        digest: str,
        training: TrainConfig,
        seed: int,
        workers: int,
    ) -> None:
        super().__init__(*statistics, training.channels_last)
        self.parts, self.task, self.image, self.digest = parts, task, image, digest
        self.size, self.seed, self.workers = training.batch_size, seed, workers
        self.device, self.rank, self.world, self.views = CPU, 0, 1, 1
        self.sizes = Sizes(len(parts.train), len(parts.val) if parts.val else 0, len(parts.test))
        n, devices = self.sizes.train, training.devices
        self.steps = batches_per_epoch(n, self.size, devices)
        self.seen = min(self.steps * self.size, n - n % devices)
        self._remember()

    def _remember(self) -> None:
        self._order = lru_cache(maxsize=4)(self._draw_order)
        self._single = lru_cache(maxsize=4)(self._made)

    def to(self, device: torch.device) -> Streamed:
        """The same, giving its batches on a device."""
        made = copy.copy(self)
        made.device, made.mean, made.std = device, self.mean.to(device), self.std.to(device)
        made._remember()
        return made

    def shard(self, rank: int, world: int) -> Streamed:
        """The share of one of so many processes: an equal part of every batch, in order, and every
        so-many-th evaluation batch. Sizes, `steps` and `seen` stay those of all.

        Args:
            rank: number of the process, from 0.
            world: number of processes.
        """
        made = copy.copy(self)
        made.rank, made.world = rank, world
        made._remember()
        return made

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (1-based), from number `start` on."""
        wanted = (self._wanted(epoch, number) for number in range(start, self.steps))
        for made in self._loaded(self.parts.train, wanted):
            yield self._batch(epoch, made)

    def batch(self, number: int) -> Batch:
        """Any batch of the run by its number, counted from 0 through all epochs; decoded in this
        process."""
        epoch, number = divmod(number, self.steps)
        return self._batch(epoch + 1, self._single(epoch + 1, number))

    def eval_batches(self, part: Part) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images and targets of a part in order, without augmentation: as many at once
        as are trained on, or one where targets are maps, whose pictures may differ in size."""
        samples = {"train": self.parts.train, "val": self.parts.val, "test": self.parts.test}[part]
        if samples is None:
            return
        size = 1 if samples.files.maps else self.size
        batches = torch.arange(len(samples)).split(size)[self.rank :: self.world]
        wanted = (Wanted(index, 0, 1) for index in batches)
        for made in self._loaded(samples, wanted):
            yield self.given(self._image(made, 0)), self._target(made)

    def held(self) -> Iterator[Tensor]:
        """Nothing stays on the device."""
        yield from ()

    def _draw_order(self, epoch: int) -> Tensor:
        """Order of an epoch (1-based), from the stream of (seed, order, epoch)."""
        return torch.randperm(self.sizes.train, generator=generator(self.seed, "order", epoch))

    def _wanted(self, epoch: int, number: int) -> Wanted:
        """This rank's share of a batch; with a second view once a step has asked for one."""
        index = self._order(epoch)[number * self.size : (number + 1) * self.size]
        n = len(index) // self.world
        return Wanted(index[self.rank * n : (self.rank + 1) * n], epoch, self.views)

    def _loaded(self, samples: Samples, wanted: Iterator[Wanted]) -> Iterator[Made]:
        return workers.made(samples, wanted, self.workers, pin=self.device.type == "cuda")

    def _made(self, epoch: int, number: int) -> Made:
        return self._one(self._wanted(epoch, number))

    def _one(self, wanted: Wanted) -> Made:
        return next(iter(workers.made(self.parts.train, [wanted], 0, pin=False)))

    def _batch(self, epoch: int, made: Made) -> Batch:
        def view() -> Tensor:
            self.views = 2
            both = made if len(made.images) > 1 else self._one(Wanted(made.at, epoch, 2))
            return self.given(self._image(both, 1))

        image = self._image(made, 0)
        index = made.at.to(self.device, non_blocking=True)
        return Batch(self.given(image), self._target(made), image, index, view)

    def _image(self, made: Made, view: int) -> Tensor:
        """Images in [0, 1] on the device; padding has the mean colour, which no byte need have."""
        sent, inside = made.images[view], made.inside[view]
        image = in_unit_range(sent.to(self.device, non_blocking=True))
        h, w = sent.shape[2:]
        if bool((inside != torch.tensor([h, w])).any()):
            ends = inside.to(self.device)[:, :, None, None, None]
            row, column = (torch.arange(n, device=self.device) for n in (h, w))
            known = (row[:, None] < ends[:, 0]) & (column < ends[:, 1])
            image = torch.where(known, image, self.mean)
        return image

    def _target(self, made: Made) -> Tensor:
        """Labels (B) or maps (B H W), int64, on the device."""
        return made.targets.to(self.device, non_blocking=True).long()
