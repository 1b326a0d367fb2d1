"""Pictures with a label each: random parts to train on, middles to evaluate on, by torchvision."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import v2

from modulewise.config.dataset import Dataset
from modulewise.data.files import Files
from modulewise.data.picture import read
from modulewise.data.samples import Sample


class Crops:
    """The pipeline of `resized_crop`. Pillow resizes: bilinear, with antialiasing.

    Args:
        config: the data set's entry.
    """

    def __init__(self, config: Dataset) -> None:
        assert config.shape and config.resized_crop
        c, h, w = config.shape
        crop = config.resized_crop
        last = [*([v2.Grayscale()] if c == 1 else []), v2.PILToTensor()]
        self._random = v2.Compose(
            [
                v2.RandomResizedCrop((h, w), scale=crop.area, ratio=crop.ratio),
                *([v2.RandomHorizontalFlip()] if config.flip else []),
                *last,
            ]
        )
        self._whole = v2.Compose([v2.Resize(crop.resize), v2.CenterCrop((h, w)), *last])

    def random(self, files: Files, i: int) -> Sample:
        """A random part of a picture, maybe flipped."""
        return self._sample(self._random(read(files.path(i))), files, i)

    def whole(self, files: Files, i: int) -> Sample:
        """The middle of a picture whose shorter side is resized."""
        return self._sample(self._whole(read(files.path(i))), files, i)

    def _sample(self, image: Tensor, files: Files, i: int) -> Sample:
        h, w = image.shape[1:]
        return Sample(image, torch.tensor(int(files.targets[i])), (h, w))
