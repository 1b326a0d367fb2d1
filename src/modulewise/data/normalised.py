"""What a network is given of images, and back."""

from __future__ import annotations

import torch
from torch import Tensor


class Normalised:
    """Normalisation of images on a device.

    Args:
        mean: per channel, in [0, 1] (C 1 1).
        std: likewise.
        channels_last: memory layout of what the network is given.
    """

    def __init__(self, mean: Tensor, std: Tensor, channels_last: bool) -> None:
        self.mean, self.std, self.channels_last = mean, std, channels_last

    def normalise(self, image: Tensor) -> Tensor:
        """(image - mean) / std of images in [0, 1] (B C H W)."""
        return (image - self.mean).div_(self.std)

    def pixels(self, x: Tensor) -> Tensor:
        """What normalised images (B C H W) were before: in [0, 1]."""
        return (x * self.std + self.mean).clamp(0, 1)

    def given(self, image: Tensor) -> Tensor:
        """What the trunk is given: normalised images, in the training's memory layout."""
        x = self.normalise(image)
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x
