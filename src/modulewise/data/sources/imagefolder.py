"""A user's folders of images, one a class, below train/ and test/."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modulewise.config.dataset import Dataset
from modulewise.data.sources import Arrays, user_path
from modulewise.errors import InvalidInput

NEEDS = ("shape", "classes", "path")


def arrays(config: Dataset, root: Path, download: bool) -> Arrays:
    """Every image, resized to the entry's shape."""
    from torchvision import datasets
    from torchvision.transforms import v2

    assert config.shape
    c, h, w = config.shape
    resize = v2.Compose([v2.Resize((h, w), antialias=True), v2.PILToTensor()])
    if c == 1:
        resize = v2.Compose([v2.Grayscale(), resize])
    out, names = [], []
    for part in ("train", "test"):
        folder = user_path(config) / part
        images, file = [], folder
        try:
            made = datasets.ImageFolder(str(folder), transform=resize)
            for i, (name, _) in enumerate(made.samples):
                file = Path(name)
                images.append(made[i][0].numpy())
        # What pillow says of damaged images
        except (OSError, RuntimeError, ValueError, SyntaxError) as error:
            raise InvalidInput(f"{file}: {error}") from None
        out += [np.stack(images), np.asarray(made.targets, dtype=np.int64)]
        names.append(made.classes)
    if names[0] != names[1]:
        raise InvalidInput(
            f"{config.path}: train/ and test/ hold other class folders: {names[0]} and {names[1]}"
        )
    return tuple(out)  # type: ignore[return-value]


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """Number of files in the classes' folders."""
    train, test = (
        sum(p.is_file() for p in (user_path(config) / part).glob("*/*"))
        for part in ("train", "test")
    )
    return train, test


def location(config: Dataset, root: Path) -> Path:
    """The root of train/ and test/."""
    return user_path(config)


def check(config: Dataset) -> None:
    """Both folders must be there."""
    for part in ("train", "test"):
        if not (folder := user_path(config) / part).is_dir():
            raise InvalidInput(f"{folder}: no such folder")
