"""Every torchvision source, read from tiny files in the data set's official layout."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from torchvision import datasets

from modulewise.config.resolve import Catalog
from modulewise.data import sources
from modulewise.errors import InvalidInput

Made = tuple[NDArray[np.uint8], NDArray[np.int64]]


def images(n: int, shape: tuple[int, ...], seed: int) -> Made:
    """Random images N C H W and labels 0 to 9."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8), rng.integers(0, 10, n)


def cifar(root: Path, folder: str, files: dict[str, Made], key: str, meta: tuple[str, str]) -> None:
    (root / folder).mkdir(parents=True)
    for name, (x, y) in files.items():
        (root / folder / name).write_bytes(
            pickle.dumps({"data": x.reshape(len(x), -1), key: y.tolist()})
        )
    (root / folder / meta[0]).write_bytes(pickle.dumps({meta[1]: [str(i) for i in range(10)]}))


def no_checksums(monkeypatch: pytest.MonkeyPatch, cls: Any, *lists: str) -> None:
    """Our files are not the official ones: take torchvision's checksums away, keep its reading."""
    for name in lists:
        monkeypatch.setattr(cls, name, [[row[0], None] for row in getattr(cls, name)])


@pytest.fixture
def read(catalog: Catalog, tmp_path: Path) -> Any:
    """Read a data set of `config/datasets.yaml` from the temporary folder."""

    def _read(name: str) -> sources.Arrays:
        return sources.arrays(catalog.datasets[name], tmp_path)

    return _read


def check(found: sources.Arrays, train: Made, test: Made) -> None:
    for got, wanted in zip(found, (*train, *test), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert found[0].dtype == np.uint8 and found[1].dtype == np.int64


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any) -> None:
    parts = [images(4, (3, 32, 32), i) for i in range(6)]
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    files = dict(zip(names, parts, strict=True))
    cifar(
        tmp_path / "CIFAR10",
        "cifar-10-batches-py",
        files,
        "labels",
        ("batches.meta", "label_names"),
    )
    no_checksums(monkeypatch, datasets.CIFAR10, "train_list", "test_list")
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": None})
    train = tuple(np.concatenate([p[i] for p in parts[:5]]) for i in (0, 1))
    check(read("cifar10"), train, parts[5])


def test_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any) -> None:
    train, test = images(6, (3, 32, 32), 0), images(3, (3, 32, 32), 1)
    files = {"train": train, "test": test}
    cifar(
        tmp_path / "CIFAR100",
        "cifar-100-python",
        files,
        "fine_labels",
        ("meta", "fine_label_names"),
    )
    no_checksums(monkeypatch, datasets.CIFAR100, "train_list", "test_list")
    monkeypatch.setattr(datasets.CIFAR100, "meta", {**datasets.CIFAR100.meta, "md5": None})
    check(read("cifar100"), train, test)


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any) -> None:
    """Images are stored H W C N, the digit 0 as label 10."""
    train, test = images(6, (3, 32, 32), 0), images(5, (3, 32, 32), 1)
    (tmp_path / "SVHN").mkdir()
    for name, (x, y) in (("train", train), ("test", test)):
        content = {"X": x.transpose(2, 3, 1, 0), "y": np.where(y == 0, 10, y)[:, None]}
        scipy.io.savemat(tmp_path / "SVHN" / f"{name}_32x32.mat", content)
    lists = {k: [v[0], v[1], None] for k, v in datasets.SVHN.split_list.items()}
    monkeypatch.setattr(datasets.SVHN, "split_list", lists)
    check(read("svhn"), train, test)


def test_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any) -> None:
    """Images are stored column by column, labels from 1; the unlabelled images are not used."""
    train, test = images(4, (3, 96, 96), 0), images(3, (3, 96, 96), 1)
    folder = tmp_path / "STL10" / "stl10_binary"
    folder.mkdir(parents=True)
    for name, (x, y) in (("train", train), ("test", test)):
        (folder / f"{name}_X.bin").write_bytes(x.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{name}_y.bin").write_bytes((y + 1).astype(np.uint8).tobytes())
    (folder / "unlabeled_X.bin").write_bytes(b"")
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    no_checksums(monkeypatch, datasets.STL10, "train_list", "test_list")
    check(read("stl10"), train, test)


@pytest.mark.parametrize(("name", "cls"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_mnist_and_fashion_mnist(name: str, cls: str, tmp_path: Path, read: Any) -> None:
    train, test = images(6, (1, 28, 28), 0), images(3, (1, 28, 28), 1)
    folder = tmp_path / cls / cls / "raw"
    folder.mkdir(parents=True)
    for part, (x, y) in (("train", train), ("t10k", test)):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x803, len(x), 28, 28) + x.tobytes()
        )
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, len(y)) + y.astype(np.uint8).tobytes()
        )
    check(read(name), train, test)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "stl10", "mnist", "fashion-mnist"])
def test_missing_files_are_one_line_that_says_how_to_get_them(name: str, read: Any) -> None:
    with pytest.raises(InvalidInput, match="fetch it with: modulewise data") as error:
        read(name)
    assert "\n" not in str(error.value)


def test_damaged_files_are_refused_by_their_checksum(tmp_path: Path, read: Any) -> None:
    parts = {
        n: images(2, (3, 32, 32), 0)
        for n in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    }
    cifar(
        tmp_path / "CIFAR10",
        "cifar-10-batches-py",
        parts,
        "labels",
        ("batches.meta", "label_names"),
    )
    with pytest.raises(InvalidInput, match="corrupted"):
        read("cifar10")
