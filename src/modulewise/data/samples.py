"""What workers make: pictures of a batch decoded, cropped and flipped, each on random numbers of
its own."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from modulewise.data.files import Files
from modulewise.errors import InvalidInput
from modulewise.rng import fork


class Sample(NamedTuple):
    """One picture."""

    image: Tensor
    """Bytes (C H W)."""
    target: Tensor
    """Label (), or map of classes (H W, bytes)."""
    inside: tuple[int, int]
    """Height and width of the picture; the rest of the image, right and below, is padding."""


class Pipeline(Protocol):
    """From files to samples."""

    def random(self, files: Files, i: int) -> Sample:
        """A picture to train on; draws from torch's global generator."""

    def whole(self, files: Files, i: int) -> Sample:
        """The same to evaluate on."""


class Wanted(NamedTuple):
    """A batch to be made."""

    at: Tensor
    """Positions of its pictures (B)."""
    epoch: int
    """Number of the epoch (from 1); 0 for evaluation."""
    views: int
    """Number of augmentations of each picture."""


class Made(NamedTuple):
    """A batch as workers give it, in bytes."""

    images: tuple[Tensor, ...]
    """Of every view (B C H W)."""
    targets: Tensor
    """Of the first view (B, or B H W)."""
    inside: tuple[Tensor, ...]
    """Heights and widths of the pictures of every view (B 2)."""
    at: Tensor
    """Positions of the pictures (B)."""


class Samples(TorchDataset[Made | InvalidInput]):
    """The pictures of a part. Batches are functions of (seed, epoch, positions), whichever process
    makes them.

    Args:
        files: the pictures.
        pipeline: what is done to them.
        seed: of augmentation.
    """

    def __init__(self, files: Files, pipeline: Pipeline, seed: int) -> None:
        self.files, self.pipeline, self.seed = files, pipeline, seed

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, wanted: Wanted) -> Made | InvalidInput:
        """A batch, or what is wrong with a file: an error that is raised in a worker would be
        wrapped in its traceback."""
        try:
            return self._made(wanted)
        except InvalidInput as error:
            return error

    def _made(self, wanted: Wanted) -> Made:
        views = [
            [self._sample(wanted.epoch, view, int(i)) for i in wanted.at]
            for view in range(wanted.views)
        ]
        return Made(
            tuple(torch.stack([s.image for s in view]) for view in views),
            torch.stack([s.target for s in views[0]]),
            tuple(torch.tensor([s.inside for s in view]) for view in views),
            wanted.at,
        )

    def _sample(self, epoch: int, view: int, i: int) -> Sample:
        if not epoch:
            return self.pipeline.whole(self.files, i)
        with fork(self.seed, "augmentation", view, epoch, i):
            return self.pipeline.random(self.files, i)
