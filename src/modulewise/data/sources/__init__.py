"""Sources of data, one a file; the file's name is the `source` of an entry in `datasets.yaml`.

A source's file holds

- `NEEDS`: keys that its entries must give, a literal;
- `arrays(config, root, download)`: images uint8 (N C H W) and targets int64 (N, or N H W for maps),
  of training, then of testing: `Arrays`;
- `sizes(config, root)`: number of training and of test images, reading as little as will do;

and, where it applies,

- `counts(config, root)`: number of training and of test images of every class, where they are
  known without reading images;
- `location(config, root)`: the file or folder that its images are read from;
- `check(config)`: refuses an entry whose files are not there, without reading them;
- `shape_and_classes(config)`: what entries need not say;
- `files(config, root)`: training and test pictures (`Files`) that are decoded as they are needed,
  in place of `arrays`; or beside it, for entries that have the key `CROP` names; `CROP`, the key of
  an entry that says how they are cropped, a literal;
- `load(config, root, training, seed)`: data of its own kind, in place of images that are all held
  on the device.

An entry's `labels` are no affair of a source: it reads all classes, and here some are kept.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
from numpy.typing import NDArray

from modulewise.config.dataset import Dataset
from modulewise.data.files import Files
from modulewise.errors import InvalidInput
from modulewise.units import memory

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]
"""x_train, y_train, x_test, y_test."""


def source(config: Dataset) -> ModuleType:
    """The file of an entry's source.

    Raises:
        InvalidInput: the entry keeps some classes of data of their own kind.
    """
    file = importlib.import_module(f"{__name__}.{config.source}")
    if config.labels and (hasattr(file, "load") or streamed(config, file)):
        raise InvalidInput(f"labels: source {config.source} has all its classes; leave it out")
    return file


def streamed(config: Dataset, file: ModuleType | None = None) -> bool:
    """Whether an entry's pictures are decoded as they are needed.

    Args:
        config: the entry.
        file: of its source.

    Raises:
        InvalidInput: a key of cropping that the source does not take.
    """
    file = file or source(config)
    mine = getattr(file, "CROP", None)
    for key in ("resized_crop", "scaled_crop"):
        if key != mine and getattr(config, key):
            valid = f"valid: {mine}" if mine else "its images are held in memory; leave it out"
            raise InvalidInput(f"{key}: not for source {config.source}; {valid}")
    return mine is not None and getattr(config, mine) is not None


def files(config: Dataset, root: Path) -> tuple[Files, Files]:
    """Pictures to train and to test on that are decoded as they are needed.

    Raises:
        InvalidInput: files are missing, or not those of an official set.
    """
    train, test = source(config).files(config, root)
    for part, found in (("train", train), ("test", test)):
        if len(found) < (least := 2 if part == "train" else 1):
            raise InvalidInput(f"{found.root}: {len(found)} {part} pictures; at least {least}")
    return train, test


def arrays(config: Dataset, root: Path, download: bool = False) -> Arrays:
    """Read a data set into memory, of its classes those that the entry keeps; with `download`,
    fetch it first if its source can.

    Raises:
        InvalidInput: files are missing or damaged, or shapes do not fit.
    """
    made: Arrays = source(config).arrays(config, root, download)
    x_train, y_train, x_test, y_test = made
    name = config.path or config.torchvision_class or config.source
    classes = config.classes or _classes(made)
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        low, high = (int(y.min()), int(y.max())) if len(y) else (0, 0)
        if low < 0 or high >= classes:
            raise InvalidInput(
                f"{name}: y_{part} holds labels {low} to {high}; valid: 0 to {classes - 1}"
            )
        if not len(x):
            raise InvalidInput(f"{name}: x_{part} is empty")
    if config.shape and x_train.shape[1:] != config.shape:
        raise InvalidInput(
            f"{name}: images are {x_train.shape[1:]}, the entry says shape {config.shape}"
        )
    if config.labels:
        made = _keep(made, config.labels, classes, name)
    if (n := len(made[1])) < 2:
        raise InvalidInput(f"{name}: {n} training images; at least 2 are needed")
    return made


def _classes(made: Arrays) -> int:
    return int(max((y.max() for y in (made[1], made[3]) if len(y)), default=0)) + 1


def _keep(made: Arrays, labels: Sequence[int], classes: int, name: str) -> Arrays:
    """Images of some classes, which become 0, 1, ...; in the order they were in."""
    _check_labels(labels, classes)
    if made[1].ndim > 1:
        raise InvalidInput(f"{name}: labels keeps images by their class; these are maps of classes")
    new = np.full(classes, -1)
    new[list(labels)] = np.arange(len(labels))
    out: list[NDArray] = []
    for part, x, y in (("train", *made[:2]), ("test", *made[2:])):
        if missing := [label for label in labels if label not in y]:
            raise InvalidInput(f"{name}: y_{part} holds no image of class {missing[0]}")
        kept = np.isin(y, labels)
        out += [x[kept], new[y[kept]]]
    return tuple(out)  # type: ignore[return-value]


def _check_labels(labels: Sequence[int], classes: int) -> None:
    if max(labels) >= classes:
        raise InvalidInput(f"labels: no class {max(labels)}; valid: 0 to {classes - 1}")


def shape_and_classes(config: Dataset, root: Path) -> tuple[tuple[int, int, int], int]:
    """Image shape (C, H, W) and number of classes, without reading images if the entry says them.

    Raises:
        InvalidInput: a file that must be read is missing or damaged, or the entry does not fit.
    """
    file = source(config)
    if hasattr(file, "shape_and_classes"):
        image, classes = file.shape_and_classes(config)
    elif config.shape and config.classes:
        image, classes = config.shape, config.classes
    else:
        made = arrays(config.model_copy(update={"labels": None}), root)
        c, h, w = made[0].shape[1:]
        image, classes = (c, h, w), config.classes or _classes(made)
    check_fit(config, image)
    if config.labels:
        _check_labels(config.labels, classes)
        classes = len(config.labels)
    return image, classes


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """Number of training images, those held out included, and of test images.

    Raises:
        InvalidInput: a file that must be read is missing or damaged.
    """
    file = source(config)
    if config.labels and hasattr(file, "counts"):
        train, test = (
            sum(n[c] for c in config.labels if c < len(n)) for n in file.counts(config, root)
        )
    elif config.labels:
        _, y_train, _, y_test = arrays(config, root)
        train, test = len(y_train), len(y_test)
    else:
        train, test = file.sizes(config, root)
    return train, test


def check_files(config: Dataset) -> None:
    """Refuse an entry whose file or folder is not there, without reading it.

    Raises:
        InvalidInput: no such file or folder.
    """
    if hasattr(file := source(config), "check"):
        file.check(config)


def location(config: Dataset, root: Path) -> Path | None:
    """The file or folder that a data set is read from; `None` if it is made up."""
    file = source(config)
    return file.location(config, root) if hasattr(file, "location") else None


def check_fit(config: Dataset, image: Sequence[int]) -> None:
    """Refuse what cannot be done to images of this shape (C, H, W).

    Raises:
        InvalidInput: reflection by as many pixels as the image has, or more; mean and std that are
            not one a channel.
    """
    c, h, w = image
    if streamed(config):
        _check_streamed(config, c, max(h, w))
    if config.padding == "reflect" and config.pad >= min(h, w):
        raise InvalidInput(
            f"pad: {config.pad} pixels cannot be reflected in images of {h}x{w}; at "
            f"most {min(h, w) - 1}"
        )
    if (config.mean is None) != (config.std is None):
        raise InvalidInput(
            f"{'std' if config.std is None else 'mean'}: missing; give mean and std "
            f"together, or neither"
        )
    if (
        config.mean is not None
        and config.std is not None
        and not len(config.mean) == len(config.std) == c
    ):
        raise InvalidInput(
            f"mean and std need {c} values each, one a channel; got "
            f"{len(config.mean)} and {len(config.std)}"
        )


def _check_streamed(config: Dataset, channels: int, longer: int) -> None:
    """Refuse what cannot be done to pictures that are decoded as they are needed."""
    if channels not in (1, 3):
        raise InvalidInput(f"shape: {channels} channels; pictures are read with 1 or 3")
    if config.pad:
        raise InvalidInput(f"pad: not beside {source(config).CROP}; leave it out")
    if config.mean is None:
        raise InvalidInput("mean and std: missing; they are not found from so many images")
    crop = config.resized_crop
    if crop and crop.resize < longer:
        raise InvalidInput(
            f"resized_crop.resize: {crop.resize} pixels hold no {longer}; at least {longer}"
        )


def check_memory(config: Dataset, images: int, each: int = 1) -> None:
    """Refuse what this machine cannot hold.

    Args:
        config: the data set's entry.
        images: their number.
        each: number of bytes of a value.

    Raises:
        InvalidInput: images of the entry's shape take more memory than the machine has.
    """
    needed = images * each * math.prod(config.shape or ())
    if needed > (there := psutil.virtual_memory().total):
        raise InvalidInput(
            f"{config.path or config.source}: shape {list(config.shape or ())}: reading the images "
            f"takes {memory(needed)} of memory, this machine has {memory(there)}"
        )


def user_path(config: Dataset) -> Path:
    """The path of an entry, `~` expanded.

    Raises:
        InvalidInput: there is no such home.
    """
    try:
        return Path(config.path or "").expanduser()
    except RuntimeError as error:
        raise InvalidInput(f"{config.path}: {error}") from None


def describe(made: Arrays) -> str:
    """One line of JSON: shapes and class counts."""
    x, y, tx, ty = made
    return json.dumps(
        {"train": list(x.shape), "test": list(tx.shape), "classes": int(max(y.max(), ty.max())) + 1}
    )
