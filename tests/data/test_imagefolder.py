"""A user's own folder of pictures, under any name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modulewise.config.dataset import Dataset
from modulewise.data import sources
from modulewise.data.load import load
from modulewise.errors import InvalidInput


def folder(
    root: Path,
    classes: tuple[str, ...] = ("cat", "dog"),
    test_classes: tuple[str, ...] | None = None,
) -> Dataset:
    """Two pictures a class and split, each of one colour: 10 x the number of its class + the
    split's."""
    for part, names in (("train", classes), ("test", test_classes or classes)):
        for i, name in enumerate(names):
            (root / part / name).mkdir(parents=True)
            for n in range(2):
                value = 10 * i + (part == "test")
                Image.new("RGB", (12 + n, 9), (value, value, value)).save(
                    root / part / name / f"{n}.png"
                )
    return Dataset(source="imagefolder", path=str(root), shape=(3, 8, 8), classes=len(classes))


def test_pictures_are_resized_and_labelled_by_folder(tmp_path: Path) -> None:
    x, y, tx, ty = sources.arrays(folder(tmp_path), Path("unused"))
    assert x.shape == tx.shape == (4, 3, 8, 8) and x.dtype == np.uint8
    assert y.tolist() == ty.tolist() == [0, 0, 1, 1]
    assert [int(v) for v in x[:, 0, 0, 0]] == [0, 0, 10, 10] and [
        int(v) for v in tx[:, 0, 0, 0]
    ] == [1, 1, 11, 11]


def test_grey_nets_get_grey_pictures(tmp_path: Path) -> None:
    entry = folder(tmp_path).model_copy(update={"shape": (1, 8, 8)})
    assert load(entry, Path("unused")).image == (1, 8, 8)


def test_other_classes_in_the_test_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="train/ and test/ hold other class folders"):
        sources.arrays(folder(tmp_path, ("cat", "dog"), ("cat", "fox")), Path("unused"))


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nowhere/train"):
        sources.arrays(
            Dataset(
                source="imagefolder", path=str(tmp_path / "nowhere"), shape=(3, 8, 8), classes=2
            ),
            Path("unused"),
        )
