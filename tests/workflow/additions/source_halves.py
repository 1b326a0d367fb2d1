"""Halves: noise that is brighter on one side of a random column; the target is the map of sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modulewise.config.dataset import Dataset
from modulewise.data.sources import Arrays

NEEDS = ("shape", "classes")


def arrays(config: Dataset, root: Path, download: bool) -> Arrays:
    """The same everywhere; class 1 is the brighter side."""
    assert config.shape
    rng, out = np.random.default_rng(0), []
    for n in sizes(config, root):
        border = rng.integers(1, config.shape[2], n)
        y = (np.arange(config.shape[2])[None, None] >= border[:, None, None]).repeat(
            config.shape[1], 1
        )
        x = 90 + 80 * y[:, None] + rng.normal(0, 30, (n, *config.shape))
        out += [np.clip(x, 0, 255).astype(np.uint8), y.astype(np.int64)]
    return tuple(out)  # type: ignore[return-value]


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """As many to test as a quarter of those to train on."""
    return config.train_size, config.train_size // 4
