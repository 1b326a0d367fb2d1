"""Data held on the training device: small images live as one uint8 tensor and are augmented there,
a batch at a time.

Order and augmentation are functions of (seed, epoch): no worker processes, no state to save, the
same on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data.augment import CropFlip, augment, in_unit_range
from modulewise.data.base import Part, Sizes, batches_per_epoch
from modulewise.data.normalised import Normalised
from modulewise.method import Batch
from modulewise.rng import generator
from modulewise.task import Task

EVALUATED = 1000
"""Number of images in an evaluation batch."""


@dataclass(frozen=True)
class Split:
    """Images (N C H W, uint8) and targets (N, or N H W; int64)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> Split:
        """The samples at these positions."""
        return Split(self.x.index_select(0, index), self.y.index_select(0, index))

    def to(self, device: torch.device) -> Split:
        """The same on a device."""
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class Parts:
    """A data set in memory."""

    train: Split
    val: Split | None
    test: Split

    def to(self, device: torch.device) -> Parts:
        """The same on a device."""
        val = self.val.to(device) if self.val else None
        return Parts(self.train.to(device), val, self.test.to(device))


class Resident(Normalised):
    """Data all of which is on the device.

    Args:
        parts: images and targets.
        task: what is learnt from them.
        config: how they are normalised and augmented.
        digest: short hash of them.
        training: for batch size and memory layout.
        seed: of order and augmentation.
        statistics: mean and standard deviation per channel, in [0, 1]; the entry's, or those of
            the training images, if not given.
        share: which of how many equal parts of every batch is given.
    """

    def __init__(
        self,
        parts: Parts,
        task: Task,
        config: Dataset,
        digest: str,
        training: TrainConfig,
        seed: int,
        statistics: tuple[Tensor, Tensor] | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.parts, self.task, self.config, self.digest = parts, task, config, digest
        self.training, self.seed, self.share = training, seed, share
        mean, std = statistics or channel_statistics(parts.train.x, config)
        super().__init__(mean, std, training.channels_last)
        c, h, w = parts.train.x.shape[1:]
        self.image = (c, h, w)
        self.sizes = Sizes(len(parts.train), len(parts.val) if parts.val else 0, len(parts.test))
        n, devices = self.sizes.train, training.devices
        self.steps = batches_per_epoch(n, training.batch_size, devices)
        self.seen = min(self.steps * training.batch_size, n - n % devices)
        self.augmented = bool(config.pad or config.flip)
        self._order = lru_cache(maxsize=4)(self._draw_order)
        self._moves = lru_cache(maxsize=8)(self._draw_moves)

    def to(self, device: torch.device) -> Resident:
        """The same on a device."""
        return self._with(
            self.parts.to(device), (self.mean.to(device), self.std.to(device)), self.share
        )

    def shard(self, rank: int, world: int) -> Resident:
        """The share of one of so many processes."""
        return self._with(self.parts, (self.mean, self.std), (rank, world))

    def _with(
        self, parts: Parts, statistics: tuple[Tensor, Tensor], share: tuple[int, int]
    ) -> Resident:
        return Resident(
            parts,
            self.task,
            self.config,
            self.digest,
            self.training,
            self.seed,
            statistics,
            share,
        )

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (1-based), from number `start` on."""
        for number in range(start, self.steps):
            yield self._batch(epoch, number)

    def batch(self, number: int) -> Batch:
        """Any batch of the run by its number, counted from 0 through all epochs."""
        epoch, number = divmod(number, self.steps)
        return self._batch(epoch + 1, number)

    def eval_batches(self, part: Part, size: int = EVALUATED) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images and targets of a part in order, without augmentation."""
        split = {"train": self.parts.train, "val": self.parts.val, "test": self.parts.test}[part]
        rank, world = self.share
        for i in range(rank * size, len(split) if split else 0, world * size):
            assert split
            image = in_unit_range(split.x[i : i + size])
            yield self.given(image), split.y[i : i + size]

    def held(self) -> Iterator[Tensor]:
        """Images and targets of all parts."""
        splits = (self.parts.train, self.parts.test, self.parts.val)
        yield from (tensor for split in splits if split for tensor in (split.x, split.y))

    def _draw_order(self, epoch: int) -> Tensor:
        """Order of an epoch (1-based), from the stream of (seed, order, epoch)."""
        order = torch.randperm(self.sizes.train, generator=generator(self.seed, "order", epoch))
        return order.to(self.parts.train.x.device)

    def _draw_moves(self, epoch: int, view: int) -> CropFlip:
        """Augmentation of an epoch (1-based) and view."""
        made = CropFlip.draw(self.sizes.train, self.config, self.seed, epoch, view)
        return made.to(self.parts.train.x.device)

    def _batch(self, epoch: int, number: int) -> Batch:
        """Batch `number` (from 0) of an epoch (1-based); it can be made at any time, repeatedly."""
        size, train = self.training.batch_size, self.parts.train
        index = self._order(epoch)[number * size : (number + 1) * size]
        rank, world = self.share
        n = len(index) // world
        index = index[rank * n : (rank + 1) * n] if world > 1 else index

        def augmented(view: int) -> Tensor:
            moves = self._moves(epoch, view).at(index)
            return augment(train.x.index_select(0, index), moves, self.config)

        image, y = augmented(0), train.y.index_select(0, index)
        return Batch(self.given(image), y, image, index, lambda: self.given(augmented(1)))


def channel_statistics(x: Tensor, config: Dataset) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel (C 1 1): the entry's, or those of images
    (N C H W)."""
    if config.mean is not None and config.std is not None:
        mean, std = torch.tensor(config.mean), torch.tensor(config.std)
    else:
        flat = x.transpose(0, 1).reshape(x.shape[1], -1).double() / 255
        mean, std = flat.mean(1).float(), flat.std(1, correction=0).float().clamp(min=1e-6)
    return mean[:, None, None], std[:, None, None]


def balanced_order(y: Tensor, g: torch.Generator) -> Tensor:
    """A random order of the samples any prefix of which holds every class about equally often.

    Args:
        y: labels (N); of maps (N H W), which belong to no class, the order is random alone.
        g: drawn from once.
    """
    shuffled = torch.randperm(len(y), generator=g)
    if y.dim() > 1:
        return shuffled
    rank = torch.empty(len(y))
    for c in y.unique():
        mine = shuffled[y[shuffled] == c]
        rank[mine] = torch.arange(len(mine), dtype=torch.float32)
    return shuffled[torch.argsort(rank[shuffled], stable=True)]
