"""Tiny folders of made-up pictures, and of pictures with maps of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modulewise.config.dataset import Dataset

STATISTICS: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def noise(rng: np.random.Generator, w: int, h: int) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8))


def pictures(root: Path, **more: Any) -> Dataset:
    """Thirteen and five JPEGs of two classes, of several sizes; the entry."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 13), ("test", 5)):
        for i in range(n):
            folder = root / part / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            noise(rng, 18 + i, 14 + 2 * i).save(folder / f"{i:02}.jpg")
    given = {"resized_crop": {"resize": 10}, "flip": True, **STATISTICS} | more
    return Dataset(source="imagefolder", path=str(root), shape=(3, 8, 8), classes=2, **given)


def scenes(root: Path, **more: Any) -> Dataset:
    """Nine and three PNGs with maps of four classes, of which 3 is ignored; the entry."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 9), ("test", 3)):
        for kind in ("images", "labels"):
            (root / part / kind).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            w, h = 20 + i, 12 + i
            noise(rng, w, h).save(root / part / "images" / f"{i}.png")
            labels = rng.integers(0, 4, (h, w), dtype=np.uint8)
            Image.fromarray(labels).save(root / part / "labels" / f"{i}.png")
    given = {"scaled_crop": {}, "flip": True, "ignored": (3,), **STATISTICS} | more
    return Dataset(source="mapfolder", path=str(root), shape=(3, 16, 16), classes=3, **given)
