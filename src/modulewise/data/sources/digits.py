"""Scikit-learn's 1,797 handwritten digits, 8x8."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from modulewise.config.dataset import Dataset
from modulewise.data.sources import Arrays

NEEDS = ()
TRAIN, TEST = 1297, 500


def arrays(config: Dataset, root: Path, download: bool) -> Arrays:
    """The first 1,297 to train on, the last 500 to test."""
    # Read from its file: to load the package would cost more than a short training's start.
    package = find_spec("sklearn")
    assert package and package.submodule_search_locations, "a dependency of this package"
    folder = Path(package.submodule_search_locations[0])
    table = np.loadtxt(folder / "datasets/data/digits.csv.gz", delimiter=",")
    x = np.round(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    y = table[:, -1].astype(np.int64)
    return x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """Number of images in each part."""
    return TRAIN, TEST


def shape_and_classes(config: Dataset) -> tuple[tuple[int, int, int], int]:
    """Ten digits, grey."""
    return (1, 8, 8), 10
