"""ImageNet (ILSVRC 2012) in its official folders: train/<class>/*.JPEG, val/<class>/*.JPEG.

The classes are the folders in the order of their names, as in torchvision. Validation images come
in one folder; they lie in class folders here, as the usual script sorts them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modulewise.config.dataset import Dataset
from modulewise.data.files import Files, in_threads
from modulewise.data.files import files as named
from modulewise.data.folders import folders, pictures
from modulewise.data.sources import user_path
from modulewise.errors import InvalidInput

NEEDS = ("shape", "classes", "resized_crop")
CROP = "resized_crop"
SIZES = (1_281_167, 50_000)
"""Number of training and of validation images, the latter to test on."""
CLASSES = 1000
PER_CLASS = ((732, 1300), (50, 50))
"""Fewest and most images of a class in each part."""


def files(config: Dataset, root: Path) -> tuple[Files, Files]:
    """The images of both parts.

    Raises:
        InvalidInput: not the official number of classes or images.
    """
    home = location(config, root)
    names = folders(home / "train")
    if len(names) != CLASSES:
        raise InvalidInput(f"{home / 'train'}: {len(names)} class folders; ImageNet has {CLASSES}")
    train, test = (_part(home, names, part) for part in range(2))
    return train, test


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """As published."""
    return SIZES


def location(config: Dataset, root: Path) -> Path:
    """The folder of train/ and val/: the entry's path, or `imagenet` among the downloads."""
    return user_path(config) if config.path else root / "imagenet"


def _part(home: Path, names: list[str], part: int) -> Files:
    """A part's images, counted."""
    folder = home / ("train", "val")[part]
    if missing := set(names) - set(folders(folder)):
        raise InvalidInput(
            f"{folder}: no class folder {min(missing)}; its images are sorted like those of train/"
        )
    found = in_threads(lambda name: pictures(folder / name), names)
    low, high = PER_CLASS[part]
    for name, images in zip(names, found, strict=True):
        if not low <= len(images) <= high:
            official = f"{low} to {high}" if low < high else str(low)
            raise InvalidInput(
                f"{folder / name}: {len(images):,} images; official classes hold {official}"
            )
    if (n := sum(map(len, found))) != SIZES[part]:
        raise InvalidInput(f"{folder}: {n:,} images; ImageNet has {SIZES[part]:,}")
    labels = np.repeat(np.arange(len(names)), [len(images) for images in found])
    return named(home, (image for images in found for image in images), labels)
