"""What every data source must give: sizes without reading, shapes, the same images each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cases import SOURCES
from modulewise.config.dataset import Dataset
from modulewise.config.options import names
from modulewise.config.training import TrainConfig
from modulewise.data import sources
from modulewise.data.load import load
from modulewise.errors import InvalidInput


@pytest.fixture(params=SOURCES)
def entry(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Dataset:
    """An entry of every source, in a folder that holds a user's files."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (6, 3, 8, 8), dtype=np.uint8), np.arange(6) % 2
    np.savez("mine.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    for part, n in (("train", 6), ("test", 4)):
        for i in range(n):
            folder = Path("mine", part, "ab"[y[i]])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(x[i].transpose(1, 2, 0)).save(folder / f"{i}.png")
            for kind, image in (("images", x[i].transpose(1, 2, 0)), ("labels", x[i, 0] % 4)):
                folder = Path("scenes", part, kind)
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / f"{i}.png")
    return Dataset(source=request.param, **SOURCES[request.param])


def test_every_source_has_a_row() -> None:
    rows = SOURCES.keys() | {"torchvision", "imagenet", "cityscapes"}
    assert set(names("data/sources")) == rows, "add a row to SOURCES in tests/cases.py"


def test_what_is_said_beforehand_is_what_is_read(entry: Dataset) -> None:
    sources.check_files(entry)
    if sources.streamed(entry):
        data = load(entry, Path())
        assert sources.sizes(entry, Path()) == data.sizes[::2]
        assert sources.shape_and_classes(entry, Path()) == (data.image, data.task.outputs)
        return
    x_train, y_train, x_test, y_test = sources.arrays(entry, Path())
    assert sources.sizes(entry, Path()) == (len(x_train), len(x_test))
    image, classes = sources.shape_and_classes(entry, Path())
    assert x_train.shape[1:] == x_test.shape[1:] == image
    assert x_train.dtype == x_test.dtype == np.uint8
    assert y_train.dtype == y_test.dtype == np.int64
    assert 0 <= min(y_train.min(), y_test.min()) <= max(y_train.max(), y_test.max()) < classes


def test_data_give_batches_of_what_they_say(entry: Dataset) -> None:
    training = TrainConfig(batch_size=4)
    data, again = (load(entry, Path(), training, 0) for _ in range(2))
    assert data.digest == again.digest == load(entry, Path(), training, 1).digest
    batches = list(data.batches(1))
    assert len(batches) == data.steps and sum(len(b.y) for b in batches) == data.seen
    for number, (a, b) in enumerate(zip(batches, again.batches(1), strict=True)):
        assert a.x.shape[1:] == data.image and torch.equal(a.x, b.x)
        assert torch.equal(data.batch(number).x, a.x)
    assert sum(len(y) for _, y in data.eval_batches("test")) == data.sizes.test


def test_some_classes_are_kept(entry: Dataset) -> None:
    kept = entry.model_copy(update={"labels": (1, 0)})
    if sources.streamed(entry):
        with pytest.raises(InvalidInput, match=f"labels: source {entry.source} has all"):
            load(kept, Path())
        return
    whole = sources.arrays(entry, Path())
    if whole[1].ndim > 1:
        with pytest.raises(InvalidInput, match="these are maps of classes"):
            sources.arrays(kept, Path())
        return
    some = sources.arrays(kept, Path())
    for x, y, x_kept, y_kept in zip(*(a[i::2] for a in (whole, some) for i in (0, 1)), strict=True):
        np.testing.assert_array_equal(x_kept, x[y < 2])
        np.testing.assert_array_equal(y_kept, 1 - y[y < 2])
    assert sources.sizes(kept, Path()) == (len(some[1]), len(some[3]))
    image, classes = sources.shape_and_classes(kept, Path())
    assert (image, classes) == (sources.shape_and_classes(entry, Path())[0], 2)
    loaded = load(kept, Path())
    assert loaded.task.outputs == 2 and loaded.sizes[::2] == (len(some[1]), len(some[3]))


def test_a_class_that_is_not_there_cannot_be_kept(entry: Dataset) -> None:
    kept = entry.model_copy(update={"labels": (0, 999)})
    said = "has all its classes" if sources.streamed(entry) else "no class 999; valid: 0 to"
    for ask in (sources.arrays, sources.shape_and_classes):
        with pytest.raises(InvalidInput, match=f"labels: .*{said}"):
            ask(kept, Path())
