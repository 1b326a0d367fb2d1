"""Pictures that are made ready in a second of CPU time, by their size and pipeline.

    OMP_NUM_THREADS=1 python benchmarks/loading.py

JPEGs of quality 90, PNGs where there are maps, of smooth noise in a folder of their own. What a
worker does is done in this process, and normalisation too; the median of five rounds.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data.load import streamed

STATISTICS: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
ROUNDS = 5


def picture(w: int, h: int) -> Image.Image:
    """Noise as smooth as a photograph: a JPEG of quality 90 has about 2 bits a pixel."""
    coarse = np.random.default_rng(0).integers(0, 256, (h // 8 + 1, w // 8 + 1, 3), dtype=np.uint8)
    grown = np.asarray(Image.fromarray(coarse).resize((w, h), Image.Resampling.BICUBIC), np.int16)
    grain = np.random.default_rng(1).normal(0, 6, grown.shape)
    made = Image.fromarray(np.clip(grown + grain, 0, 255).astype(np.uint8))
    return made.filter(ImageFilter.GaussianBlur(0.5))


def classes(root: Path, w: int, h: int, side: int, resize: int) -> Dataset:
    """Pictures with labels."""
    for part in ("train", "test"):
        for name in "ab":
            (root / part / name).mkdir(parents=True)
            for i in range(8):
                picture(w, h).save(root / part / name / f"{i}.jpg", quality=90)
    crop: Any = {"resize": resize}
    return Dataset(
        source="imagefolder", path=str(root), shape=(3, side, side), classes=2,
        resized_crop=crop, flip=True, **STATISTICS,
    )  # fmt: skip


def scenes(root: Path, w: int, h: int, size: tuple[int, int]) -> Dataset:
    """Pictures with maps of classes."""
    for part in ("train", "test"):
        for kind in ("images", "labels"):
            (root / part / kind).mkdir(parents=True)
        for i in range(4):
            picture(w, h).save(root / part / "images" / f"{i}.png")
            coarse = np.random.default_rng(i).integers(0, 19, (h // 64, w // 64), dtype=np.uint8)
            labels = Image.fromarray(coarse).resize((w, h), Image.Resampling.NEAREST)
            labels.save(root / part / "labels" / f"{i}.png")
    crop: Any = {}
    return Dataset(
        source="mapfolder", path=str(root), shape=(3, *size), classes=19,
        scaled_crop=crop, flip=True, **STATISTICS,
    )  # fmt: skip


def main() -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        entries = {
            "96x96 to 96": classes(root / "small", 96, 96, 96, 96),
            "500x375 to 224": classes(root / "large", 500, 375, 224, 256),
            "480x360 with maps to 352x480": scenes(root / "camera", 480, 360, (352, 480)),
            "2048x1024 with maps to 512x1024": scenes(root / "street", 2048, 1024, (512, 1024)),
        }
        loaded = {
            name: streamed(entry, Path(), TrainConfig(batch_size=4), 0)
            for name, entry in entries.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in entries}
        for epoch in range(ROUNDS):
            for name, data in loaded.items():
                begun = time.thread_time()
                for i in range(data.steps):
                    data.batch(epoch * data.steps + i)
                seconds[name].append((time.thread_time() - begun) / data.seen)
        for name, found in seconds.items():
            print(f"{name:32} {1 / median(found):8.1f} pictures a CPU second")


if __name__ == "__main__":
    main()
