"""Made-up images: noise around one random prototype a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modulewise.config.dataset import Dataset
from modulewise.data.sources import Arrays, check_memory

NEEDS = ("shape", "classes")


def arrays(config: Dataset, root: Path, download: bool) -> Arrays:
    """Learnable, and the same everywhere."""
    assert config.shape and config.classes
    # The prototypes, and four copies of a part while it is made
    check_memory(config, config.classes + 4 * max(sizes(config, root)), each=8)
    rng = np.random.default_rng(0)
    prototypes = rng.integers(64, 192, (config.classes, *config.shape))
    out = []
    for n in sizes(config, root):
        y = np.arange(n) % config.classes
        x = prototypes[y] + rng.normal(0, 24, (n, *config.shape))
        out += [np.clip(x, 0, 255).astype(np.uint8), y.astype(np.int64)]
    return tuple(out)  # type: ignore[return-value]


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """As the entry says, and a quarter as many for testing, every class at least once."""
    return config.train_size, max(config.train_size // 4, config.classes or 0)
