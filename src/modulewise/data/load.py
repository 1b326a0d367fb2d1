"""A data set's entry becomes data."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from modulewise import tasks
from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data import sources
from modulewise.data.base import Data
from modulewise.data.resident import Parts, Resident, Split, balanced_order, channel_statistics
from modulewise.errors import InvalidInput
from modulewise.rng import generator


def load(config: Dataset, root: Path, training: TrainConfig | None = None, seed: int = 0) -> Data:
    """Load a data set for a run.

    Args:
        config: its entry in `datasets.yaml`.
        root: folder that downloads lie in.
        training: for batches, and `train_images`, the size of the training subset.
        seed: of the subset, of order and augmentation.

    Raises:
        InvalidInput: files are missing or damaged, or shapes and labels do not fit.
    """
    training = training or TrainConfig()
    file = sources.source(config)
    if hasattr(file, "load"):
        data: Data = file.load(config, root, training, seed)
        return data
    return resident(config, root, training, seed)


def resident(config: Dataset, root: Path, training: TrainConfig, seed: int) -> Resident:
    """Data of which all images are held on the device; arguments as of `load`."""
    arrays = sources.arrays(config, root)
    train, test = (
        Split(torch.from_numpy(x), torch.from_numpy(y)) for x, y in (arrays[:2], arrays[2:])
    )
    if train.y.dim() > 1 and (config.pad or config.flip):
        raise InvalidInput("pad and flip move images, not their maps; leave them out")
    classes = (
        len(config.labels)
        if config.labels
        else config.classes or int(max(train.y.max(), test.y.max())) + 1
    )
    raw = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
    digest = hashlib.sha256(raw).hexdigest()[:12]
    sources.check_fit(config, train.x.shape[1:])
    statistics = channel_statistics(train.x, config)
    val = None
    if config.validation:
        if config.validation >= len(train):
            raise InvalidInput(
                f"validation: {config.validation} of {len(train)} training images; leave some to "
                "train on"
            )
        order = balanced_order(train.y, generator(0, "validation"))
        val, train = train.take(order[: config.validation]), train.take(order[config.validation :])
    if training.train_images:
        if training.train_images > len(train):
            raise InvalidInput(
                f"train_images: {training.train_images} asked for, there are {len(train)}"
            )
        order = balanced_order(train.y, generator(seed, "subset"))
        train = train.take(order[: training.train_images])
    task = tasks.build(config.task, classes)
    return Resident(Parts(train, val, test), task, config, digest, training, seed, statistics)
