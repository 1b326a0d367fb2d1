"""Torchvision's data sets of small images, downloaded and verified by torchvision."""

from __future__ import annotations

import errno
import inspect
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from filelock import FileLock

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
COUNTS = {
    "SVHN": (
        (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
        (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
    ),
    "MNIST": (
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
}
"""Likewise of every class, where they are not equally many."""
CLASSES = {"CIFAR100": 100}
"""Number of classes, where they are not ten."""


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
            with _alone(root / f".{name}.lock") if download else nullcontext():
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


def _alone(lock: Path) -> FileLock:
    """One download at a time: several entries may be of the same files."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """As published."""
    return SIZES[config.torchvision_class or ""]


def counts(config: Dataset, root: Path) -> tuple[tuple[int, ...], ...]:
    """As published."""
    name = config.torchvision_class or ""
    n = CLASSES.get(name, 10)
    return COUNTS.get(name) or tuple((size // n,) * n for size in SIZES[name])


def location(config: Dataset, root: Path) -> Path:
    """Torchvision's own folder, by name of the class."""
    return root / (config.torchvision_class or "")
