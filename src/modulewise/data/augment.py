"""Random crops and flips, made on the device: functions of (seed, epoch) and of the sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise.config.dataset import Dataset
from modulewise.rng import generator


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
    if config.pad or config.flip:
        x = _moved(x, crop_flip, config)
    return in_unit_range(x)


def in_unit_range(x: Tensor) -> Tensor:
    """Images in [0, 1] of uint8 images, any shape."""
    return x.float().div_(255)


def _moved(x: Tensor, crop_flip: CropFlip, config: Dataset) -> Tensor:
    """Padded, cropped and flipped images (B C H W), bytes as they are: every pixel is read once,
    from its place in the padded image."""
    b, c, h, w = x.shape
    if p := config.pad:
        x = F.pad(x, (p, p, p, p), mode="reflect" if config.padding == "reflect" else "constant")
    rows = crop_flip.down[:, None] + torch.arange(h, device=x.device)
    column = torch.arange(w, device=x.device)
    columns = crop_flip.right[:, None] + torch.where(
        crop_flip.flip[:, None], w - 1 - column, column
    )
    places = rows[:, :, None] * x.shape[3] + columns[:, None, :]
    places = places.flatten(1)[:, None, :].expand(b, c, h * w)
    moved = x.flatten(2).gather(2, places).view(b, c, h, w)
    # Of one channel both layouts are the same bytes. Strides say channels-last where images are
    # padded: convolutions go by them, and earlier results were made so.
    return moved.view(b, h, w, 1).permute(0, 3, 1, 2) if p and c == 1 else moved
