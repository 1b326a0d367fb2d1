"""Mean losses of an epoch, summed on the device: no step waits for a value."""

from __future__ import annotations

import torch
from torch import Tensor

from modulewise.engine.distributed import everyone


class Losses:
    """Sums over the images of an epoch so far.

    Args:
        sums: by name: of the images' losses, and their number.
    """

    def __init__(self, sums: dict[str, tuple[Tensor, int]] | None = None) -> None:
        self.sums = sums or {}

    def add(self, values: dict[str, Tensor], images: int) -> None:
        """Add the mean losses of a step of so many images."""
        for name, value in values.items():
            total, seen = self.sums.get(name, (torch.zeros((), device=value.device), 0))
            self.sums[name] = total + value.float() * images, seen + images

    def means(self) -> dict[str, float]:
        """Mean losses by name, over all ranks."""
        own = {name: value.item() / images for name, (value, images) in self.sums.items()}
        told = everyone(own)
        return {name: sum(it[name] for it in told) / len(told) for name in own}
