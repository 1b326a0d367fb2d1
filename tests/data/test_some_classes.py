"""Entries that keep some classes of a data set: tasks to transfer between."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from modulewise.config.cell import Cell
from modulewise.config.dataset import Dataset
from modulewise.config.resolve import Catalog
from modulewise.data import sources
from modulewise.data.load import load
from modulewise.data.sources import torchvision
from modulewise.errors import InvalidInput

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def entry(tmp_path: Path, labels: tuple[int, ...] | None, **change: object) -> Dataset:
    """An npz file of 12 images of three classes to train on and 6 to test."""
    y = np.arange(12) % 3
    x = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    arrays = {"x_train": x, "y_train": y, "x_test": x[:6], "y_test": y[:6]} | change
    np.savez(tmp_path / "a.npz", **arrays)
    return Dataset(source="npz", path=str(tmp_path / "a.npz"), labels=labels)


def test_hashes_tell_tasks_apart(tmp_path: Path) -> None:
    """Other classes, or the same in another order, are other images and targets."""
    kept = [(0, 1), (1, 0), (0, 2), (0, 1, 2)]
    digests = [load(entry(tmp_path, labels), tmp_path).digest for labels in kept]
    assert len(set(digests)) == 4
    assert digests[3] == load(entry(tmp_path, None), tmp_path).digest
    assert digests[0] == load(entry(tmp_path, (0, 1)), tmp_path, seed=1).digest


def test_a_task_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="y_test holds no image of class 2"):
        sources.arrays(entry(tmp_path, (0, 2), y_test=np.zeros(6, int)), tmp_path)


@pytest.mark.parametrize("labels", [(1,), (1, 1), (-1, 0), (True, 0)])
def test_bad_lists_are_refused(labels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="labels"):
        Dataset(source="digits", labels=labels)


def test_labels_are_part_of_a_cell() -> None:
    def cell(**more: object) -> Cell:
        data = Dataset(source="digits", **more)
        axes = {"dataset": "d", "network": "mlp1x8", "recipe": "r", "modules": 1, "seed": 0}
        return Cell(**axes, method="backprop", data=data)

    assert cell().id == cell(labels=None).id
    assert len({cell().id, cell(labels=(0, 1)).id, cell(labels=(1, 0)).id}) == 3


def test_pairs_of_cifar10(catalog: Catalog) -> None:
    """The 15 pairs of six classes, labels by sorted name; all else is as of CIFAR-10."""
    six = sorted(["deer", "horse", "automobile", "truck", "cat", "dog"])
    whole = catalog.datasets["cifar10"]
    found = {n: e for n, e in catalog.datasets.items() if n.startswith("cifar10-")}
    assert set(found) == {f"cifar10-{a}-{b}" for a, b in combinations(six, 2)}
    for name, e in found.items():
        assert [CIFAR10[label] for label in e.labels or ()] == name.split("-")[1:]
        assert e.model_copy(update={"labels": None}) == whole
        assert sources.sizes(e, Path("unused")) == (10_000, 2_000)


def test_published_counts_add_up(catalog: Catalog) -> None:
    for name, totals in torchvision.SIZES.items():
        given = Dataset(source="torchvision", torchvision_class=name, shape=(1, 4, 4), classes=2)
        assert tuple(sum(n) for n in torchvision.counts(given, Path("unused"))) == totals
