"""Data of a run whose budget is in iterations: an epoch is a stretch of so many steps, after which
the run is evaluated, wherever passes over the images begin and end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from modulewise.config.training import TrainConfig
from modulewise.data.base import Data
from modulewise.method import Batch


def stretched(data: Data, training: TrainConfig) -> Data:
    """The data with stretches in place of epochs, if the budget is in iterations."""
    return Stretches(data, training.stretch, training.batch_size) if training.iterations else data


class Stretches:
    """Passes over the images, one after the other, cut into epochs of equal length. A pass has its
    own order and augmentation, those of the data's epoch of that number; its last short batch is
    dropped, so that all steps are of one size.

    Args:
        data: whose epochs are the passes.
        steps: of an epoch.
        batch_size: of a step; with fewer images a step has them all.
    """

    def __init__(self, data: Data, steps: int, batch_size: int) -> None:
        self.data: Any = data
        self.steps, self.batch_size = steps, batch_size
        self.per_pass = max(1, data.sizes.train // batch_size)
        self.seen = steps * min(batch_size, data.sizes.train)

    def __getattr__(self, name: str) -> Any:
        """All else is the data's own."""
        if name == "data":  # not yet there in a copy
            raise AttributeError(name)
        return getattr(self.data, name)

    def to(self, device: torch.device) -> Stretches:
        """The same, giving its batches on a device."""
        return Stretches(self.data.to(device), self.steps, self.batch_size)

    def shard(self, rank: int, world: int) -> Stretches:
        """The share of one of so many processes, of data that can be shared."""
        return Stretches(self.data.shard(rank, world), self.steps, self.batch_size)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of a stretch (1-based), from number `start` on."""
        at, end = (epoch - 1) * self.steps + start, epoch * self.steps
        while at < end:
            before, number = divmod(at, self.per_pass)
            n = min(self.per_pass - number, end - at)
            yield from islice(self.data.batches(before + 1, number), n)
            at += n

    def batch(self, number: int) -> Batch:
        """Any batch of the run by its number, counted from 0."""
        before, number = divmod(number, self.per_pass)
        made: Batch = self.data.batch(before * self.data.steps + number)
        return made
