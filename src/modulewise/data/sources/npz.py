"""A user's npz file: x_train, y_train, x_test, y_test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modulewise.config.dataset import Dataset
from modulewise.data.sources import Arrays, user_path
from modulewise.data.sources import arrays as checked
from modulewise.errors import InvalidInput

NEEDS = ("path",)


def arrays(config: Dataset, root: Path, download: bool) -> Arrays:
    """The four arrays."""
    path = user_path(config)
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


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """Number of labels."""
    _, y_train, _, y_test = checked(config, root)
    return len(y_train), len(y_test)


def location(config: Dataset, root: Path) -> Path:
    """The file."""
    return user_path(config)


def check(config: Dataset) -> None:
    """It must be there."""
    if not (path := user_path(config)).is_file():
        raise InvalidInput(f"{path}: no such file")


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
