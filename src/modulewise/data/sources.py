"""Where images come from: torchvision's downloads, a user's npz file or ImageFolder, scikit-learn's
digits, made-up images.

Every source gives x_train, y_train, x_test, y_test: images uint8 (N C H W), labels int64 (N).
"""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modulewise.config.dataset import Dataset
from modulewise.errors import InvalidInput

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]


def arrays(config: Dataset, root: Path, download: bool = False) -> Arrays:
    """Read a data set into memory; with `download`, fetch it first if torchvision has it.

    Raises:
        InvalidInput: files are missing or damaged, or shapes do not fit.
    """
    x_train, y_train, x_test, y_test = {
        "torchvision": _torchvision,
        "npz": _npz,
        "imagefolder": _imagefolder,
        "digits": _digits,
        "fake": _fake,
    }[config.source](config, root, download)
    name = config.path or config.torchvision_class or config.source
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        low, high = (int(y.min()), int(y.max())) if len(y) else (0, 0)
        if low < 0 or (config.classes and high >= config.classes):
            classes = config.classes or int(max(y_train.max(), y_test.max())) + 1
            raise InvalidInput(
                f"{name}: y_{part} holds labels {low} to {high}; valid: 0 to {classes - 1}"
            )
        if not len(x):
            raise InvalidInput(f"{name}: x_{part} is empty")
    if config.shape and x_train.shape[1:] != config.shape:
        raise InvalidInput(
            f"{name}: images are {x_train.shape[1:]}, the entry says shape {config.shape}"
        )
    if len(y_train) < 2:
        raise InvalidInput(f"{name}: {len(y_train)} training images; at least 2 are needed")
    return x_train, y_train, x_test, y_test


def shape_and_classes(config: Dataset, root: Path) -> tuple[tuple[int, int, int], int]:
    """Image shape (C, H, W) and number of classes, without reading images if the entry says
    them."""
    if config.source == "digits":
        found = (1, 8, 8), 10
    elif config.shape and config.classes:
        found = config.shape, config.classes
    else:
        x_train, y_train, _, y_test = arrays(config, root)
        c, h, w = x_train.shape[1:]
        found = (c, h, w), config.classes or int(max(y_train.max(), y_test.max())) + 1
    check_fit(config, found[0])
    return found


def check_fit(config: Dataset, image: Sequence[int]) -> None:
    """Refuse what cannot be done to images of this shape (C, H, W).

    Raises:
        InvalidInput: reflection by as many pixels as the image has, or more; mean and std that are
            not one a channel.
    """
    c, h, w = image
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


def check_place(config: Dataset) -> None:
    """Refuse an entry whose file or folder is not there, without reading it.

    Raises:
        InvalidInput: no such file or folder.
    """
    path = _place(config)
    wanted = {"npz": [path], "imagefolder": [path / "train", path / "test"]}.get(config.source, [])
    for place in wanted:
        if not (place.is_file() if config.source == "npz" else place.is_dir()):
            raise InvalidInput(f"{place}: no such {'file' if config.source == 'npz' else 'folder'}")


def training_images(config: Dataset) -> int | None:
    """Number of training images where it is known without reading them; `None` elsewhere."""
    whole = {"fake": config.train_size, "digits": 1297}.get(config.source)
    return None if whole is None else whole - config.validation


SIZES = {
    "CIFAR10": (50_000, 10_000),
    "CIFAR100": (50_000, 10_000),
    "SVHN": (73_257, 26_032),
    "STL10": (5_000, 8_000),
    "MNIST": (60_000, 10_000),
    "FashionMNIST": (60_000, 10_000),
}
"""Training and test images of torchvision's data sets."""


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """Number of training images, those held out included, and of test images; only a user's own
    files are read, as little as will do.

    Raises:
        InvalidInput: the user's file is missing or damaged.
    """
    if config.torchvision_class:
        return SIZES[config.torchvision_class]
    if config.source == "fake" and config.classes:
        return config.train_size, max(config.train_size // 4, config.classes)
    if config.source == "digits":
        return 1297, 500
    if config.source == "imagefolder":
        train, test = (
            sum(p.is_file() for p in (_place(config) / part).glob("*/*"))
            for part in ("train", "test")
        )
        return train, test
    _, y_train, _, y_test = arrays(config, root)
    return len(y_train), len(y_test)


def _place(config: Dataset) -> Path:
    try:
        return Path(config.path or "").expanduser()
    except RuntimeError as error:
        raise InvalidInput(f"{config.path}: {error}") from None


def _torchvision(config: Dataset, root: Path, download: bool) -> Arrays:
    from torchvision import datasets

    name = config.torchvision_class or ""
    by_split = name in ("SVHN", "STL10")
    out = []
    for part in ("train", "test"):
        try:
            choice = {"split": part} if by_split else {"train": part == "train"}
            made = getattr(datasets, name)(root=str(root / name), download=download, **choice)
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
        labels = made.labels if by_split else made.targets
        out += [np.ascontiguousarray(x), np.asarray(labels, dtype=np.int64)]
    return tuple(out)  # type: ignore[return-value]


def _npz(config: Dataset, root: Path, download: bool) -> Arrays:
    path = _place(config)
    keys = ("x_train", "y_train", "x_test", "y_test")
    try:
        with np.load(path) as f:
            missing = [k for k in keys if k not in f]
            if missing:
                raise InvalidInput(
                    f"{path}: no array {', '.join(missing)}; an npz data set holds "
                    f"{', '.join(keys)}"
                )
            out = [f[k] for k in keys]
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file") from None
    except InvalidInput:
        raise
    # A damaged archive breaks in zipfile, zlib, struct or numpy, each with errors of its own
    except Exception as error:
        raise InvalidInput(
            f"{path}: not a readable npz file: {' '.join(str(error).split())}"
        ) from None
    for i, part in ((0, "train"), (2, "test")):
        out[i], out[i + 1] = (
            _images(out[i], f"{path}: x_{part}"),
            _labels(out[i + 1], f"{path}: y_{part}"),
        )
        if len(out[i]) != len(out[i + 1]):
            raise InvalidInput(
                f"{path}: x_{part} holds {len(out[i])} images, y_{part} {len(out[i + 1])} labels"
            )
        if not len(out[i]):
            raise InvalidInput(f"{path}: x_{part} is empty")
    if out[0].shape[1:] != out[2].shape[1:]:
        raise InvalidInput(
            f"{path}: x_train holds images of {out[0].shape[1:]}, x_test of {out[2].shape[1:]}"
        )
    return tuple(out)


def _images(x: NDArray, where: str) -> NDArray[np.uint8]:
    """N H W, N H W C or N C H W (C of 1 or 3) to N C H W."""
    if x.dtype != np.uint8:
        raise InvalidInput(f"{where} is {x.dtype}; images are uint8, 0 to 255")
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise InvalidInput(
            f"{where} has shape {x.shape}; valid: (N, H, W), (N, H, W, C) or (N, C, "
            f"H, W) with C of 1 or 3"
        )
    return np.ascontiguousarray(x)


def _labels(y: NDArray, where: str) -> NDArray[np.int64]:
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise InvalidInput(
            f"{where} has shape {y.shape} and type {y.dtype}; labels are integers of shape (N,)"
        )
    if y.size and y.max() >= 2**31:
        raise InvalidInput(f"{where} holds labels {y.min()} to {y.max()}; labels count from 0")
    return y.astype(np.int64)


def _imagefolder(config: Dataset, root: Path, download: bool) -> Arrays:
    from torchvision import datasets
    from torchvision.transforms import v2

    assert config.shape
    c, h, w = config.shape
    resize = v2.Compose([v2.Resize((h, w), antialias=True), v2.PILToTensor()])
    if c == 1:
        resize = v2.Compose([v2.Grayscale(), resize])
    out, names = [], []
    for part in ("train", "test"):
        folder = _place(config) / part
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


def _digits(config: Dataset, root: Path, download: bool) -> Arrays:
    """Scikit-learn's 1,797 digits, 8x8: the first 1,297 to train on, the last 500 to test."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = np.round(x * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    y = y.astype(np.int64)
    return x[:1297], y[:1297], x[1297:], y[1297:]


def _fake(config: Dataset, root: Path, download: bool) -> Arrays:
    """Noise around one random prototype a class: learnable, and the same everywhere."""
    assert config.shape and config.classes
    rng = np.random.default_rng(0)
    prototypes = rng.integers(64, 192, (config.classes, *config.shape))
    out = []
    for n in (config.train_size, max(config.train_size // 4, config.classes)):
        y = np.arange(n) % config.classes
        x = prototypes[y] + rng.normal(0, 24, (n, *config.shape))
        out += [np.clip(x, 0, 255).astype(np.uint8), y.astype(np.int64)]
    return tuple(out)  # type: ignore[return-value]


def describe(made: Arrays) -> str:
    """One line of JSON: shapes and class counts."""
    x, y, tx, ty = made
    return json.dumps(
        {"train": list(x.shape), "test": list(tx.shape), "classes": int(max(y.max(), ty.max())) + 1}
    )
