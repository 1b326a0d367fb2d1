"""Data of noise in place of pictures that are decoded as they are needed: as many, no files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modulewise import tasks
from modulewise.config.cell import Cell
from modulewise.data.files import Files
from modulewise.data.samples import Sample, Samples
from modulewise.data.streamed import SampleParts, Streamed

FEW = 8
"""Number of different targets."""


class Noise:
    """A pipeline that reads no file: one image for all.

    Args:
        image: bytes (C H W).
        targets: of `FEW` images.
    """

    def __init__(self, image: Tensor, targets: Tensor) -> None:
        self.image, self.targets = image, targets

    def random(self, files: Files, i: int) -> Sample:
        """The image."""
        h, w = self.image.shape[1:]
        return Sample(self.image, self.targets[i % FEW], (h, w))

    def whole(self, files: Files, i: int) -> Sample:
        """The image."""
        return self.random(files, i)


def streamed(cell: Cell, sizes: tuple[int, int, int]) -> Streamed:
    """As many images as a cell has to train on, to select on and to test on.

    Args:
        cell: the cell.
        sizes: number of images of each part.
    """
    config = cell.data
    assert config.shape and config.classes
    task = tasks.build(config.task, config.classes)
    g = torch.Generator().manual_seed(0)
    image = torch.randint(256, config.shape, dtype=torch.uint8, generator=g)
    pipeline = Noise(image, task.placeholder(FEW, config.shape, "cpu"))

    def part(n: int) -> Samples:
        kind = np.bytes_ if config.scaled_crop else np.int64
        return Samples(Files(Path(), np.zeros(n, "S1"), np.zeros(n, kind)), pipeline, cell.seed)

    train, val, test = sizes
    parts = SampleParts(part(train), part(val) if val else None, part(test))
    mean, std = (torch.full((config.shape[0], 1, 1), v) for v in (0.5, 0.25))
    return Streamed(
        parts, task, config.shape, (mean, std), "noise", cell.training, cell.seed, workers=0
    )
