"""What the trainer asks of data: sizes, training batches by epoch or number, evaluation batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from modulewise.method import Batch
from modulewise.task import Task

Part = Literal["train", "val", "test"]


class Sizes(NamedTuple):
    """Number of images of each part."""

    train: int
    val: int
    test: int


class Data(Protocol):
    """A data set, and a run's way through it: batches are functions of (seed, epoch, number)."""

    task: Task
    image: tuple[int, int, int]
    """Shape of one image (C, H, W)."""
    digest: str
    """Short hash of all images and targets, equal for every run of the data set whatever its seed
    and settings: runs whose hashes differ are not compared."""
    sizes: Sizes
    steps: int
    """Number of batches in an epoch."""
    seen: int
    """Number of images that an epoch's batches hold."""
    augmented: bool
    """Whether an image differs from epoch to epoch."""

    def to(self, device: torch.device) -> Data:
        """The same, giving its batches on a device."""

    def shard(self, rank: int, world: int) -> Data:
        """The share of one of so many processes: an equal part of every batch, and every so-many-th
        evaluation batch. Sizes, `steps` and `seen` stay those of all."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (1-based), from number `start` on."""

    def batch(self, number: int) -> Batch:
        """Any batch of the run by its number, counted from 0 through all epochs."""

    def eval_batches(self, part: Part) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images and targets of a part in order, without augmentation."""

    def pixels(self, x: Tensor) -> Tensor:
        """What normalised images (B C H W) were before: in [0, 1]."""

    def held(self) -> Iterator[Tensor]:
        """All tensors that stay on the device."""


def batches_per_epoch(n: int, batch_size: int, devices: int = 1) -> int:
    """Batches of an epoch: a last short one is kept, unless a device had a single image of it,
    which BatchNorm could not normalise.

    Args:
        n: number of images.
        batch_size: images in a batch.
        devices: that share a batch.
    """
    full, rest = divmod(n, batch_size)
    return full + (rest >= 2 * devices)
