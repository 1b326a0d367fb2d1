"""A user's pictures with a map of classes each: train/images and train/labels, test/images and
test/labels.

A map is a picture of one channel of 8 bits whose values are classes, or colours of a palette whose
numbers are; it has its picture's size and, but for the ending, its name.
"""

from __future__ import annotations

from pathlib import Path

from modulewise.config.dataset import Dataset
from modulewise.data.files import Files
from modulewise.data.files import files as named
from modulewise.data.folders import pictures
from modulewise.data.sources import user_path
from modulewise.errors import InvalidInput

NEEDS = ("shape", "classes", "path", "scaled_crop")
CROP = "scaled_crop"


def files(config: Dataset, root: Path) -> tuple[Files, Files]:
    """Pictures and maps of both parts.

    Raises:
        InvalidInput: a folder or a map is not there, or one picture has two.
    """
    home = user_path(config)
    train, test = (_part(home, part) for part in ("train", "test"))
    return train, test


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """Number of pictures in each part."""
    train, test = files(config, root)
    return len(train), len(test)


def location(config: Dataset, root: Path) -> Path:
    """The root of train/ and test/."""
    return user_path(config)


def check(config: Dataset) -> None:
    """Both folders must be there, with a map of every picture."""
    files(config, Path())


def _part(home: Path, part: str) -> Files:
    images, maps = (home / part / kind for kind in ("images", "labels"))
    found = pictures(images)
    by_name: dict[Path, Path] = {}
    for path in pictures(maps):
        if (name := path.relative_to(maps).with_suffix("")) in by_name:
            raise InvalidInput(f"{path}: another map has this name, {by_name[name].name}")
        by_name[name] = path
    names = [path.relative_to(images).with_suffix("") for path in found]
    if missing := [name for name in names if name not in by_name]:
        raise InvalidInput(f"{maps}: no map {missing[0]} of a picture of images/")
    return named(home, found, [by_name[name] for name in names])
