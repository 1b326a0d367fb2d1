"""Data sets: small images live as one uint8 tensor on the training device and are augmented there,
a batch at a time.

Order and augmentation are functions of (seed, epoch): no worker processes, no state to save, the
same on every device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data import sources
from modulewise.errors import InvalidInput
from modulewise.method import Batch
from modulewise.rng import generator
from modulewise.task import Classification


@dataclass(frozen=True)
class Split:
    """Images (N C H W, uint8) and labels (N, int64)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> Split:
        """The samples at these positions."""
        return Split(self.x[index], self.y[index])


@dataclass(frozen=True)
class Data:
    """A data set in memory, with how it is normalised and augmented."""

    train: Split
    val: Split | None
    test: Split
    task: Classification
    config: Dataset
    mean: Tensor
    """Per channel (C 1 1), in [0, 1]."""
    std: Tensor
    digest: str

    @property
    def image(self) -> tuple[int, int, int]:
        """Shape of one image (C, H, W)."""
        c, h, w = self.train.x.shape[1:]
        return c, h, w

    def to(self, device: torch.device) -> Data:
        """The same on a device."""

        def moved(s: Split) -> Split:
            return Split(s.x.to(device), s.y.to(device))

        return Data(
            moved(self.train),
            moved(self.val) if self.val else None,
            moved(self.test),
            self.task,
            self.config,
            self.mean.to(device),
            self.std.to(device),
            self.digest,
        )

    def normalise(self, image: Tensor) -> Tensor:
        """(image - mean) / std of images in [0, 1] (B C H W)."""
        return (image - self.mean) / self.std


def load(config: Dataset, root: Path, training: TrainConfig | None = None, seed: int = 0) -> Data:
    """Load a data set.

    Args:
        config: its entry in `datasets.yaml`.
        root: folder that downloads lie in.
        training: for `train_images`, the size of the training subset.
        seed: of the subset.

    Raises:
        InvalidInput: files are missing or damaged, or shapes and labels do not fit.
    """
    arrays = sources.arrays(config, root)
    train, test = (
        Split(torch.from_numpy(x), torch.from_numpy(y)) for x, y in (arrays[:2], arrays[2:])
    )
    classes = config.classes or int(max(train.y.max(), test.y.max())) + 1
    digest = hashlib.sha256(
        b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
    ).hexdigest()[:12]
    sources.check_fit(config, train.x.shape[1:])
    mean, std = _statistics(train.x, config)
    val = None
    if config.validation:
        if config.validation >= len(train):
            raise InvalidInput(
                f"validation: {config.validation} of {len(train)} training images; "
                f"leave some to train on"
            )
        order = balanced_order(train.y, generator(0, "validation"))
        val, train = train.take(order[: config.validation]), train.take(order[config.validation :])
    if training and training.train_images:
        if training.train_images > len(train):
            raise InvalidInput(
                f"train_images: {training.train_images} asked for, there are {len(train)}"
            )
        train = train.take(
            balanced_order(train.y, generator(seed, "subset"))[: training.train_images]
        )
    return Data(train, val, test, Classification(classes), config, mean, std, digest)


def balanced_order(y: Tensor, g: torch.Generator) -> Tensor:
    """A random order of the samples (N) any prefix of which holds every class about equally
    often."""
    shuffled = torch.randperm(len(y), generator=g)
    rank = torch.empty(len(y))
    for c in y.unique():
        mine = shuffled[y[shuffled] == c]
        rank[mine] = torch.arange(len(mine), dtype=torch.float32)
    return shuffled[torch.argsort(rank[shuffled], stable=True)]


def _statistics(x: Tensor, config: Dataset) -> tuple[Tensor, Tensor]:
    channels = x.shape[1]
    if config.mean is not None and config.std is not None:
        mean, std = torch.tensor(config.mean), torch.tensor(config.std)
    else:
        flat = x.transpose(0, 1).reshape(channels, -1).double() / 255
        mean, std = flat.mean(1).float(), flat.std(1, correction=0).float().clamp(min=1e-6)
    return mean[:, None, None], std[:, None, None]


def batches_per_epoch(n: int, batch_size: int) -> int:
    """Batches of an epoch: a last short one is kept, unless it is a single image, which BatchNorm
    could not normalise."""
    full, rest = divmod(n, batch_size)
    return full + (rest > 1)


def batches(
    data: Data, training: TrainConfig, seed: int, epoch: int, start: int = 0
) -> Iterator[Batch]:
    """The batches of an epoch (1-based), from number `start` on."""
    drawn = Epoch.draw(data, training, seed, epoch)
    for b in range(start, batches_per_epoch(len(data.train), training.batch_size)):
        yield drawn.batch(b)


def numbered(data: Data, training: TrainConfig, seed: int) -> Callable[[int], Batch]:
    """A function that gives any batch of a run by its number, counted from 0 through all epochs."""
    drawn = lru_cache(maxsize=4)(partial(Epoch.draw, data, training, seed))
    per_epoch = batches_per_epoch(len(data.train), training.batch_size)

    def batch(n: int) -> Batch:
        epoch, b = divmod(n, per_epoch)
        return drawn(epoch + 1).batch(b)

    return batch


@dataclass(frozen=True)
class Epoch:
    """Order and augmentation of an epoch (1-based): any of its batches can be made, at any time, as
    often as wanted.

    Every image is padded, cropped at random and flipped with probability 1/2 as the data set's
    entry says.
    """

    data: Data
    training: TrainConfig
    seed: int
    number: int
    order: Tensor
    """Positions of the training samples (N)."""
    crop_flip: CropFlip

    @staticmethod
    def draw(data: Data, training: TrainConfig, seed: int, epoch: int) -> Epoch:
        """Draw them from the streams of (seed, order, epoch) and (seed, augmentation, 0, epoch)."""
        n, device = len(data.train), data.train.x.device
        order = torch.randperm(n, generator=generator(seed, "order", epoch)).to(device)
        return Epoch(
            data,
            training,
            seed,
            epoch,
            order,
            CropFlip.draw(n, data.config, seed, epoch, 0).to(device),
        )

    def batch(self, b: int) -> Batch:
        """Batch number b of the epoch, from 0."""
        size, data = self.training.batch_size, self.data
        index = self.order[b * size : (b + 1) * size]
        image = augment(data.train.x[index], self.crop_flip.at(index), data.config)

        def view() -> Tensor:
            other = CropFlip.draw(len(data.train), data.config, self.seed, self.number, 1).to(
                index.device
            )
            return data.normalise(augment(data.train.x[index], other.at(index), data.config))

        x = data.normalise(image)
        if self.training.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return Batch(x, data.train.y[index], image, index, view)


@dataclass(frozen=True)
class CropFlip:
    """Crop offsets and flips of every training sample in one epoch: down (N), right (N), flip (N,
    bool)."""

    down: Tensor
    right: Tensor
    flip: Tensor

    @staticmethod
    def draw(n: int, config: Dataset, seed: int, epoch: int, view: int) -> CropFlip:
        """Draw them for a view (0: the batch's own) from the stream of (seed, augmentation, view,
        epoch)."""
        g = generator(seed, "augmentation", view, epoch)
        span = 2 * config.pad + 1
        down, right = torch.randint(span, (2, n), generator=g)
        return CropFlip(down, right, torch.rand(n, generator=g) < (0.5 if config.flip else 0.0))

    def to(self, device: torch.device) -> CropFlip:
        """The same on a device."""
        return CropFlip(self.down.to(device), self.right.to(device), self.flip.to(device))

    def at(self, index: Tensor) -> CropFlip:
        """Those of some samples."""
        return CropFlip(self.down[index], self.right[index], self.flip[index])


def augment(x: Tensor, crop_flip: CropFlip, config: Dataset) -> Tensor:
    """Padded, cropped and flipped images in [0, 1] (B C H W) of uint8 images."""
    b, _, h, w = x.shape
    image = x.float() / 255
    p = config.pad
    if p:
        padded = F.pad(
            image, (p, p, p, p), mode="reflect" if config.padding == "reflect" else "constant"
        )
        rows = crop_flip.down[:, None] + torch.arange(h, device=x.device)
        columns = crop_flip.right[:, None] + torch.arange(w, device=x.device)
        which = torch.arange(b, device=x.device)[:, None, None]
        image = padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if config.flip:
        image = torch.where(crop_flip.flip[:, None, None, None], image.flip(3), image)
    return image.contiguous()


def plain(data: Data, split: Split, size: int = 1000) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalised images and labels of a split in order, without augmentation."""
    for i in range(0, len(split), size):
        yield data.normalise(split.x[i : i + size].float() / 255), split.y[i : i + size]
