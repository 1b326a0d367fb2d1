"""Order and number of batches, subsets, the validation split, normalisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data.base import batches_per_epoch
from modulewise.data.load import resident
from modulewise.data.resident import Resident, balanced_order
from modulewise.errors import InvalidInput
from modulewise.rng import generator


def load(
    n: int = 40,
    seed: int = 0,
    train_images: int | None = None,
    batch_size: int = 8,
    **entry: object,
) -> Resident:
    config = Dataset(source="fake", shape=(3, 8, 8), classes=4, train_size=n, **entry)
    training = TrainConfig(train_images=train_images, batch_size=batch_size)
    return resident(config, Path("unused"), training, seed)


def order(loaded: Resident, epoch: int) -> list[list[int]]:
    return [b.index.tolist() for b in loaded.batches(epoch)]


@pytest.mark.parametrize(
    ("n", "size", "sizes"),
    [
        (16, 8, [8, 8]),
        (18, 8, [8, 8, 2]),
        (17, 8, [8, 8]),
        (7, 8, [7]),
        (9, 3, [3, 3, 3]),
        (2, 8, [2]),
    ],
    ids=["full", "short-last", "single-dropped", "one-short", "exact", "two"],
)
def test_a_short_last_batch_is_kept_and_a_single_image_dropped(
    n: int, size: int, sizes: list[int]
) -> None:
    loaded = load(n, batch_size=size)
    assert batches_per_epoch(n, size) == loaded.steps == len(sizes)
    assert [len(b) for b in order(loaded, 1)] == sizes
    assert loaded.seen == sum(sizes)


@given(st.integers(2, 300), st.integers(2, 300))
def test_number_of_batches(n: int, size: int) -> None:
    lengths = [min(size, n - i) for i in range(0, n, size)]
    assert batches_per_epoch(n, size) == sum(length > 1 for length in lengths)


def test_order_follows_from_seed_and_epoch() -> None:
    loaded = load()
    first = order(loaded, 1)
    assert sorted(i for b in first for i in b) == list(range(40))
    assert order(load(), 1) == first
    assert order(load(seed=1), 1) != first
    assert order(loaded, 2) != first


@pytest.mark.parametrize("start", [0, 1, 4, 5])
def test_an_epoch_continues_where_it_was_left(start: int) -> None:
    loaded = load(pad=1, flip=True)
    whole = list(loaded.batches(1))
    rest = list(loaded.batches(1, start))
    assert len(rest) == len(whole) - start
    for a, b in zip(whole[start:], rest, strict=True):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.index, b.index)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 5))
def test_every_prefix_of_a_balanced_order_is_balanced(labels: list[int], seed: int) -> None:
    """Counts of two classes differ by at most one, unless the smaller class is used up."""
    y = torch.tensor(labels)
    taken = balanced_order(y, generator(seed, "x"))
    assert sorted(taken.tolist()) == list(range(len(y)))
    total = {c: labels.count(c) for c in set(labels)}
    counts = dict.fromkeys(total, 0)
    for i in taken.tolist():
        counts[labels[i]] += 1
        most = max(counts.values())
        assert all(counts[c] >= min(most - 1, total[c]) for c in total)


def test_a_balanced_order_is_random() -> None:
    y = torch.arange(40) % 4
    a, b = balanced_order(y, generator(0, "x")), balanced_order(y, generator(1, "x"))
    assert not torch.equal(a, b)
    assert not torch.equal(y[a], y[b]), "classes come in another order too"


def test_a_subset_has_equal_shares_and_depends_on_the_seed() -> None:
    first, again, other = (load(train_images=12, seed=s) for s in (0, 0, 1))
    assert len(first.parts.train) == 12
    assert torch.bincount(first.parts.train.y).tolist() == [3, 3, 3, 3]
    assert torch.equal(first.parts.train.x, again.parts.train.x)
    assert not torch.equal(first.parts.train.x, other.parts.train.x)
    assert torch.equal(first.parts.test.x, other.parts.test.x)
    assert first.digest == other.digest == load().digest


def test_the_whole_is_not_a_subset_too_large() -> None:
    assert load(train_images=40).sizes.train == 40
    with pytest.raises(InvalidInput, match="train_images: 41 asked for, there are 40"):
        load(train_images=41)


def rows(x: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in x}


def test_validation_images_are_held_out_the_same_for_every_seed() -> None:
    whole, first, other = load(), load(validation=8, seed=0), load(validation=8, seed=1)
    assert first.parts.val is not None
    assert other.parts.val is not None
    assert torch.equal(first.parts.val.x, other.parts.val.x)
    assert torch.bincount(first.parts.val.y).tolist() == [2, 2, 2, 2]
    assert (len(first.parts.val), len(first.parts.train)) == (8, 32)
    assert not rows(first.parts.val.x) & rows(first.parts.train.x)
    assert rows(first.parts.val.x) | rows(first.parts.train.x) == rows(whole.parts.train.x)
    assert whole.parts.val is None


def test_a_subset_is_drawn_beside_the_validation_images() -> None:
    loaded = load(validation=8, train_images=12)
    assert loaded.parts.val is not None
    assert not rows(loaded.parts.val.x) & rows(loaded.parts.train.x)


@pytest.mark.parametrize("size", [40, 41])
def test_validation_must_leave_images_to_train_on(size: int) -> None:
    with pytest.raises(InvalidInput, match=f"validation: {size} of 40 training images"):
        load(validation=size)


def test_statistics_are_of_the_training_images_if_not_given() -> None:
    loaded = load()
    x = loaded.parts.train.x.numpy().astype(np.float64) / 255
    assert loaded.mean.flatten().numpy() == pytest.approx(x.mean((0, 2, 3)), abs=1e-6)
    assert loaded.std.flatten().numpy() == pytest.approx(x.std((0, 2, 3)), abs=1e-6)


def test_statistics_that_are_given_count() -> None:
    loaded = load(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    image = torch.rand(2, 3, 8, 8)
    expected = np.stack(
        [(image[:, c].numpy() - m) / s for c, (m, s) in enumerate(((0.1, 1), (0.2, 2), (0.3, 4)))],
        1,
    )
    np.testing.assert_allclose(loaded.normalise(image).numpy(), expected, rtol=1e-6, atol=1e-7)


def test_statistics_need_one_value_a_channel() -> None:
    with pytest.raises(InvalidInput, match="mean and std need 3 values each"):
        load(mean=(0.5,), std=(0.5,))


def test_digits() -> None:
    loaded = resident(Dataset(source="digits"), Path("unused"), TrainConfig(), 0)
    assert loaded.image == (1, 8, 8)
    assert (len(loaded.parts.train), len(loaded.parts.test), loaded.task.classes) == (1297, 500, 10)
    assert int(loaded.parts.train.x.max()) == 255
    images, labels = load_digits(return_X_y=True)
    x = torch.cat([loaded.parts.train.x, loaded.parts.test.x])
    assert np.array_equal(x.flatten(1), np.round(images / 16 * 255))
    assert torch.cat([loaded.parts.train.y, loaded.parts.test.y]).tolist() == labels.tolist()
