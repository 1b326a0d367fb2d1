"""Batches of a budget in iterations: passes over the images in epochs of equal length."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch

from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data.base import Data
from modulewise.data.load import resident
from modulewise.data.stretches import stretched


def load(n: int, every: int, batch_size: int = 8) -> tuple[Data, Data]:
    """Images in passes, and in stretches."""
    config = Dataset(source="fake", shape=(3, 8, 8), classes=4, train_size=n, pad=1, flip=True)
    training = TrainConfig(iterations=4 * every, evaluate_every=every, batch_size=batch_size)
    passes = resident(config, Path("unused"), training, 0)
    return passes, stretched(passes, training)


@pytest.mark.parametrize(("n", "every"), [(40, 3), (44, 7), (44, 5), (40, 12)])
def test_stretches_are_the_passes_one_after_the_other(n: int, every: int) -> None:
    """40 or 44 images have five whole batches a pass; the short one of four images is dropped."""
    passes, made = load(n, every)
    whole = [b for epoch in range(1, 12) for b in list(passes.batches(epoch))[:5]]
    found = list(chain.from_iterable(made.batches(epoch) for epoch in (1, 2, 3, 4)))
    assert len(found) == 4 * every
    assert made.steps == every
    assert made.seen == 8 * every == sum(len(b.y) for b in made.batches(1))
    for number, (mine, theirs) in enumerate(zip(found, whole, strict=False)):
        assert torch.equal(mine.index, theirs.index)
        assert torch.equal(mine.x, theirs.x)
        assert torch.equal(made.batch(number).x, theirs.x)


@pytest.mark.parametrize("start", range(8))
def test_a_stretch_goes_on_from_any_step(start: int) -> None:
    _, made = load(44, 7)
    rest = [b.index.tolist() for b in made.batches(2, start)]
    assert rest == [b.index.tolist() for b in made.batches(2)][start:]


def test_fewer_images_than_a_batch_are_all_in_every_step() -> None:
    _, made = load(6, 3)
    assert [sorted(b.index.tolist()) for b in made.batches(1)] == [[0, 1, 2, 3, 4, 5]] * 3
    assert made.seen == 18


def test_other_budgets_leave_the_data_as_they_are() -> None:
    passes, _ = load(40, 5)
    assert stretched(passes, TrainConfig(epochs=3)) is passes
