"""A user's own npz file: what is read, and the one line said about one that does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modulewise.config.dataset import Dataset
from modulewise.data.load import load
from modulewise.data.sources import arrays, shape_and_classes
from modulewise.errors import InvalidInput

RNG = np.random.default_rng(0)


def content(shape: tuple[int, ...] = (5, 4), n: int = 6, tests: int = 3) -> dict[str, np.ndarray]:
    """Arrays of a sound file."""
    return {
        "x_train": RNG.integers(0, 256, (n, *shape), dtype=np.uint8),
        "y_train": np.arange(n) % 3,
        "x_test": RNG.integers(0, 256, (tests, *shape), dtype=np.uint8),
        "y_test": np.arange(tests) % 3,
    }


def write(folder: Path, **changes: np.ndarray | None) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **{k: v for k, v in (content() | changes).items() if v is not None})
    return path


def entry(path: Path, **more: object) -> Dataset:
    return Dataset(source="npz", path=str(path), **more)


@pytest.mark.parametrize(
    ("shape", "image"),
    [((5, 4), (1, 5, 4)), ((5, 4, 3), (3, 5, 4)), ((3, 5, 4), (3, 5, 4)), ((1, 5, 4), (1, 5, 4))],
)
def test_layouts(shape: tuple[int, ...], image: tuple[int, int, int], tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    made = content(shape)
    np.savez(path, **made)
    loaded = load(entry(path), tmp_path)
    assert loaded.image == image
    assert shape_and_classes(entry(path), tmp_path) == (image, 3)
    expected = (
        made["x_train"].transpose(0, 3, 1, 2)
        if shape[-1] == 3
        else made["x_train"].reshape(6, *image)
    )
    assert np.array_equal(loaded.parts.train.x.numpy(), expected)
    assert loaded.parts.train.y.tolist() == [0, 1, 2, 0, 1, 2]
    assert (len(loaded.parts.test), loaded.task.classes) == (3, 3)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint32, np.int64])
def test_labels_of_any_integer_type(kind: type, tmp_path: Path) -> None:
    path = write(tmp_path, y_train=np.array([0, 1, 2, 0, 1, 2], dtype=kind))
    assert load(entry(path), tmp_path).parts.train.y.tolist() == [0, 1, 2, 0, 1, 2]


BROKEN = {
    "float images": ({"x_train": np.zeros((6, 5, 4), np.float32)}, "x_train is float32; images are "
                                                                   "uint8"),
    "signed images": (
        {"x_test": np.zeros((3, 5, 4), np.int64)}, "x_test is int64; images are uint8"
    ),
    "images of 16 bits": (
        {"x_train": np.zeros((6, 5, 4), np.uint16)}, "x_train is uint16; images are uint8"
    ),
    "two channels": ({"x_train": np.zeros((6, 2, 5, 4), np.uint8)}, r"x_train has shape \(6, 2, 5, "
                                                                    r"4\); valid: "),
    "flat images": ({"x_train": np.zeros((6, 20), np.uint8)}, r"x_train has shape \(6, 20\)"),
    "five dimensions": ({"x_train": np.zeros((6, 1, 1, 5, 4), np.uint8)}, "x_train has shape"),
    "one-hot labels": ({"y_train": np.eye(6, dtype=np.int64)}, r"y_train has shape \(6, 6\)"),
    "float labels": ({"y_test": np.zeros(3)}, "y_test has shape .* and type float64; labels are "
                                              "integers"),
    "fewer labels": ({"y_train": np.arange(5) % 3}, "x_train holds 6 images, y_train 5 labels"),
    "fewer test labels": ({"y_test": np.arange(2)}, "x_test holds 3 images, y_test 2 labels"),
    "no training images": (
        {"x_train": np.zeros((0, 5, 4), np.uint8), "y_train": np.zeros(0, np.int64)}, "x_train is "
                                                                                      "empty"
    ),
    "no test images": (
        {"x_test": np.zeros((0, 5, 4), np.uint8), "y_test": np.zeros(0, np.int64)},
        "x_test is empty",
    ),
    "other test shape": ({"x_test": np.zeros((3, 4, 4), np.uint8)}, "images of .1, 5, 4., x_test "
                                                                    "of .1, 4, 4."),
    "one array missing": ({"y_test": None}, "no array y_test; an npz data set holds x_train, "
                                            "y_train, x_test, y_test"),
    "two arrays missing": ({"y_test": None, "x_train": None}, "no array x_train, y_test"),
    "negative labels": ({"y_train": np.array([0, 1, 2, 0, 1, -1])}, "y_train holds labels -1 to 2; "
                                                                    "valid: 0 to 2"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_does_not_fit_is_refused_in_one_line_that_names_it(
    what: str, tmp_path: Path
) -> None:
    changes, message = BROKEN[what]
    path = write(tmp_path, **changes)
    with pytest.raises(InvalidInput, match=message) as error:
        load(entry(path), tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_labels_beyond_the_entrys_classes(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(InvalidInput, match="y_train holds labels 0 to 2; valid: 0 to 1"):
        load(entry(path, classes=2), tmp_path)
    assert load(entry(path, classes=5), tmp_path).task.classes == 5


def test_another_shape_than_the_entry_says(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"images are \(1, 5, 4\), the entry says shape \(1, 8, 8\)"
    ) as error:
        load(entry(write(tmp_path), shape=(1, 8, 8)), tmp_path)
    assert "mine.npz" in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent\.npz: no such file"):
        load(entry(tmp_path / "absent.npz"), tmp_path)


@pytest.mark.parametrize("bytes_", [b"some text\n" * 20, b"PK\x03\x04 torn"], ids=["text", "torn"])
def test_no_npz_file(bytes_: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(bytes_)
    with pytest.raises(InvalidInput, match="not a readable npz file") as error:
        arrays(entry(path), tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **(made := content()))
    np.savez_compressed(tmp_path / "b.npz", **made)
    made["y_test"] = made["y_test"][::-1].copy()
    np.savez(tmp_path / "c.npz", **made)
    a, b, c = (load(entry(tmp_path / f"{n}.npz"), tmp_path).digest for n in "abc")
    assert a == b != c
