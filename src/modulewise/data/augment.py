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
