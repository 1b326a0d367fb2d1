"""Torchvision's data sets of small images, downloaded and verified by torchvision."""

from __future__ import annotations

import errno
import inspect
from pathlib import Path

import numpy as np

from modulewise.config.dataset import Dataset
from modulewise.data.sources import Arrays
from modulewise.errors import InvalidInput

NEEDS = ("torchvision_class", "shape", "classes")
SIZES = {
    "CIFAR10": (50_000, 10_000),
    "CIFAR100": (50_000, 10_000),
    "SVHN": (73_257, 26_032),
    "STL10": (5_000, 8_000),
    "MNIST": (60_000, 10_000),
    "FashionMNIST": (60_000, 10_000),
}
"""Number of training and of test images, by torchvision's class."""


def arrays(config: Dataset, root: Path, download: bool) -> Arrays:
    """Torchvision's own reading of its files; every class has `data` in memory."""
    from torchvision import datasets

    name = config.torchvision_class or ""
    made_by = getattr(datasets, name)
    by_split = "split" in inspect.signature(made_by).parameters
    out = []
    for part in ("train", "test"):
        try:
            choice = {"split": part} if by_split else {"train": part == "train"}
            made = made_by(root=str(root / name), download=download, **choice)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (
                errno.ENOSPC,
                errno.EDQUOT,
                errno.EROFS,
                errno.EFBIG,
            ):
                raise
            fix = f"fetch it with: modulewise data --dataset NAME (folder {root / name})"
            said = str(error).replace("You can use download=True to download it", "").strip(" .")
            raise InvalidInput(f"{name}: {said}; {fix}") from None
        x = np.asarray(made.data, dtype=np.uint8)
        if x.ndim == 3:
            x = x[:, None]
        elif x.shape[-1] == 3:
            x = x.transpose(0, 3, 1, 2)
        labels = made.targets if hasattr(made, "targets") else made.labels
        out += [np.ascontiguousarray(x), np.asarray(labels, dtype=np.int64)]
    return tuple(out)  # type: ignore[return-value]


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """As published."""
    return SIZES[config.torchvision_class or ""]


def location(config: Dataset, root: Path) -> Path:
    """Torchvision's own folder, by name of the class."""
    return root / (config.torchvision_class or "")
