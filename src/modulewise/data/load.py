"""A data set's entry becomes data."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modulewise import tasks
from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data import sources, workers
from modulewise.data.base import Data
from modulewise.data.crops import Crops
from modulewise.data.files import digest
from modulewise.data.resident import Parts, Resident, Split, balanced_order, channel_statistics
from modulewise.data.samples import Pipeline, Samples
from modulewise.data.scenes import Scenes
from modulewise.data.streamed import SampleParts, Streamed
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
    if sources.streamed(config):
        return streamed(config, root, training, seed)
    return resident(config, root, training, seed)


def streamed(config: Dataset, root: Path, training: TrainConfig, seed: int) -> Streamed:
    """Data whose pictures are decoded as they are needed; arguments as of `load`."""
    assert config.shape and config.classes and config.mean and config.std
    sources.check_fit(config, config.shape)
    train, test = sources.files(config, root)
    hashed = digest((train, test))
    labels = torch.zeros(len(train)) if train.maps else torch.from_numpy(train.targets)
    held, trained = (i.numpy() for i in _chosen(config, training, seed, labels))
    val, train = train.take(held) if len(held) else None, train.take(trained)
    pipeline: Pipeline = Scenes(config) if train.maps else Crops(config)
    parts = SampleParts(
        Samples(train, pipeline, seed),
        Samples(val, pipeline, seed) if val else None,
        Samples(test, pipeline, seed),
    )
    mean, std = (torch.tensor(v)[:, None, None] for v in (config.mean, config.std))
    task = tasks.build(config.task, config.classes)
    return Streamed(
        parts, task, config.shape, (mean, std), hashed, training, seed, workers.number()
    )


def _chosen(config: Dataset, training: TrainConfig, seed: int, y: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the training images that are held out for selection, and of those that are
    trained on.

    Raises:
        InvalidInput: there are not so many.
    """
    trained = torch.arange(len(y))
    held = trained[:0]
    if config.validation:
        if config.validation >= len(y):
            raise InvalidInput(
                f"validation: {config.validation} of {len(y)} training images; leave some to "
                "train on"
            )
        order = balanced_order(y, generator(0, "validation"))
        held, trained = order[: config.validation], order[config.validation :]
    if training.train_images:
        if training.train_images > len(trained):
            raise InvalidInput(
                f"train_images: {training.train_images} asked for, there are {len(trained)}"
            )
        order = balanced_order(y[trained], generator(seed, "subset"))
        trained = trained[order[: training.train_images]]
    return held, trained


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
    if config.validation or training.train_images:
        held, trained = _chosen(config, training, seed, train.y)
        val, train = train.take(held) if len(held) else None, train.take(trained)
    task = tasks.build(config.task, classes)
    return Resident(Parts(train, val, test), task, config, digest, training, seed, statistics)
