"""A user's folders of pictures, one a class, below train/ and test/.

Names that begin with a dot are left out, as are files that are no pictures by their names' ends. In
all else the classes, the pictures and their order are those of torchvision's `ImageFolder`. An
entry with `resized_crop` has its pictures decoded as they are needed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modulewise.config.dataset import Dataset
from modulewise.data.files import Files
from modulewise.data.files import files as named
from modulewise.data.folders import folders
from modulewise.data.folders import pictures as pictures_in
from modulewise.data.picture import read
from modulewise.data.sources import Arrays, check_memory, user_path
from modulewise.errors import InvalidInput

NEEDS = ("shape", "classes", "path")
CROP = "resized_crop"


def arrays(config: Dataset, root: Path, download: bool) -> Arrays:
    """Every picture, resized to the entry's shape."""
    from torchvision.transforms import v2

    assert config.shape
    c, h, w = config.shape
    resize = v2.Compose([v2.Resize((h, w), antialias=True), v2.PILToTensor()])
    if c == 1:
        resize = v2.Compose([v2.Grayscale(), resize])
    parts = _pictures(config)
    check_memory(config, sum(len(files) for files in parts))
    out = []
    for files in parts:
        images = np.empty((len(files), *config.shape), np.uint8)
        for image, (file, _) in zip(images, files, strict=True):
            image[:] = resize(read(file)).numpy()
        out += [images, np.array([label for _, label in files], dtype=np.int64)]
    return tuple(out)  # type: ignore[return-value]


def files(config: Dataset, root: Path) -> tuple[Files, Files]:
    """Every picture, not read."""
    home = user_path(config)
    train, test = (
        named(home, [file for file, _ in part], np.array([label for _, label in part], np.int64))
        for part in _pictures(config)
    )
    return train, test


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """Number of pictures in the classes' folders."""
    train, test = (len(files) for files in _pictures(config))
    return train, test


def counts(config: Dataset, root: Path) -> list[list[int]]:
    """Number of pictures in every class's folder."""
    n = len(_classes(config))
    return [[[c for _, c in files].count(k) for k in range(n)] for files in _pictures(config)]


def location(config: Dataset, root: Path) -> Path:
    """The root of train/ and test/."""
    return user_path(config)


def check(config: Dataset) -> None:
    """Both folders must be there, with the same classes, no more than the entry says; pictures are
    grey or of three channels."""
    found = _classes(config)
    if config.classes and len(found) > config.classes:
        raise InvalidInput(
            f"{config.path}: {len(found)} class folders, the entry says classes: {config.classes}; "
            f"found: {', '.join(found)}"
        )
    if config.shape and config.shape[0] not in (1, 3):
        raise InvalidInput(f"shape: {config.shape[0]} channels; pictures are read with 1 or 3")


def _classes(config: Dataset) -> list[str]:
    """Names of the class folders, sorted, of train/ and of test/ alike."""
    train, test = (folders(user_path(config) / part) for part in ("train", "test"))
    if train != test:
        raise InvalidInput(
            f"{config.path}: train/ and test/ hold other class folders: {train} and {test}"
        )
    return train


def _pictures(config: Dataset) -> list[list[tuple[Path, int]]]:
    """Files of train/ and of test/, each with the number of its class."""
    check(config)
    return [
        [
            (file, label)
            for label, name in enumerate(_classes(config))
            for file in pictures_in(user_path(config) / part / name)
        ]
        for part in ("train", "test")
    ]
