"""A user's own folder of pictures, under any name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets
from torchvision.transforms import v2

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


def test_class_names_by_mistake_are_refused_before_a_picture_is_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="train/ and test/ hold other class folders"):
        sources.check_files(folder(tmp_path, ("cat", "dog"), ("cat", "fox")))


def as_torchvision(root: Path, part: str, shape: tuple[int, int, int]) -> tuple[np.ndarray, list]:
    """Images and labels as torchvision's own folder gives them."""
    c, h, w = shape
    steps = [v2.Grayscale()] if c == 1 else []
    steps += [v2.Resize((h, w), antialias=True), v2.PILToTensor()]
    made = datasets.ImageFolder(str(root / part), transform=v2.Compose(steps))
    return np.stack([image.numpy() for image, _ in made]), made.targets


def eight_bit_pictures(root: Path) -> None:
    """Pictures of every usual kind and size, two classes."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (root / part / name / "more").mkdir(parents=True)
            for i, suffix in enumerate(("png", "bmp", "ppm", "jpg", "tif", "PNG")):
                colours = rng.integers(0, 256, (9 + i, 7, 3), np.uint8)
                Image.fromarray(colours).save(root / part / name / f"{i}.{suffix}")
                Image.fromarray(colours[..., 0]).save(root / part / name / "more" / f"g{i}.png")


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8), (3, 20, 5)])
def test_pictures_of_eight_bits_are_those_of_torchvision(
    shape: tuple[int, int, int], tmp_path: Path
) -> None:
    eight_bit_pictures(tmp_path)
    entry = Dataset(source="imagefolder", path=str(tmp_path), shape=shape, classes=2)
    arrays = sources.arrays(entry, Path("unused"))
    for part, x, y in (("train", *arrays[:2]), ("test", *arrays[2:])):
        expected, labels = as_torchvision(tmp_path, part, shape)
        assert np.array_equal(x, expected) and y.tolist() == labels
    raw = b"".join(a.tobytes() for a in arrays)
    assert load(entry, Path("unused")).digest == hashlib.sha256(raw).hexdigest()[:12]


def test_a_digest_of_before_deep_pictures_were_read(tmp_path: Path) -> None:
    """Results made then still belong to the same images."""
    assert load(folder(tmp_path), Path("unused")).digest == "feecd27a23fa"
    grey = folder(tmp_path / "grey").model_copy(update={"shape": (1, 9, 12)})
    assert load(grey, Path("unused")).digest == "b516fd23df85"


def deeper(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / "cat" / "b" / "c").mkdir(parents=True)
        (root / part / "cat" / "b-c").mkdir()
        for place in ("b", "b/c", "b-c"):
            Image.new("L", (4, 4), len(place)).save(root / part / "cat" / place / "x.png")


def stray_files(root: Path) -> None:
    (root / "train" / "README.md").write_text("notes")
    (root / "train" / "cat" / "labels.txt").write_text("cat cat")
    (root / "train" / "dog" / "Thumbs.db").write_bytes(b"thumbnails")
    (root / "test" / "dog" / "0.png.json").write_text("{}")


def capitals(root: Path) -> None:
    Image.new("L", (4, 4)).save(root / "train" / "cat" / "A.PNG")
    Image.new("L", (4, 4)).save(root / "train" / "cat" / "B.JPeG", "JPEG")


def links(root: Path) -> None:
    (root / "elsewhere").mkdir()
    Image.new("L", (4, 4), 77).save(root / "elsewhere" / "z.png")
    (root / "train" / "cat" / "linked").symlink_to(root / "elsewhere")
    (root / "train" / "dog" / "z.png").symlink_to(root / "elsewhere" / "z.png")
    for part in ("train", "test"):
        (root / part / "eel").symlink_to(root / "elsewhere")


def folder_like_a_picture(root: Path) -> None:
    (root / "train" / "cat" / "x.png").mkdir()
    Image.new("L", (4, 4)).save(root / "train" / "cat" / "x.png" / "y.png")


LAYOUTS: list[Callable[[Path], None]] = [
    deeper,
    stray_files,
    capitals,
    links,
    folder_like_a_picture,
]


@pytest.mark.parametrize("add", LAYOUTS)
def test_what_is_counted_is_what_torchvision_reads(
    add: Callable[[Path], None], tmp_path: Path
) -> None:
    entry = folder(tmp_path).model_copy(update={"classes": 3})
    add(tmp_path)
    x_train, y_train, x_test, y_test = sources.arrays(entry, Path("unused"))
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        expected, labels = as_torchvision(tmp_path, part, (3, 8, 8))
        assert np.array_equal(x, expected) and y.tolist() == labels
    assert sources.sizes(entry, Path("unused")) == (len(y_train), len(y_test))


def test_hidden_names_are_no_classes_and_no_pictures(tmp_path: Path) -> None:
    entry = folder(tmp_path)
    before = sources.arrays(entry, Path("unused"))
    for place in (
        "train/.ipynb_checkpoints", "test/.git", "train/cat/.ipynb_checkpoints", "train/dog/.x/y"
    ):  # fmt: skip
        (tmp_path / place).mkdir(parents=True)
        Image.new("RGB", (4, 4), (200, 0, 0)).save(tmp_path / place / "0-checkpoint.png")
    (tmp_path / "train" / "cat" / "._0.png").write_bytes(b"what a Mac leaves")
    (tmp_path / "train" / ".DS_Store").write_bytes(b"likewise")
    after = sources.arrays(entry, Path("unused"))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert sources.sizes(entry, Path("unused")) == (4, 4)


@pytest.mark.parametrize("inside", [None, "notes.txt", ".hidden.png"])
def test_a_class_without_pictures_is_named(inside: str | None, tmp_path: Path) -> None:
    entry = folder(tmp_path).model_copy(update={"classes": 3})
    for part in ("train", "test"):
        (tmp_path / part / "eel").mkdir()
        if inside:
            (tmp_path / part / "eel" / inside).write_bytes(b"nothing")
    for ask in (sources.sizes, sources.arrays):
        with pytest.raises(
            InvalidInput, match=r"train/eel: no pictures; their names end in \.jpg,"
        ):
            ask(entry, Path("unused"))


def test_no_class_folders(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part / ".hidden").mkdir(parents=True)
    entry = Dataset(source="imagefolder", path=str(tmp_path), shape=(3, 8, 8), classes=2)
    with pytest.raises(InvalidInput, match="train: no class folder"):
        sources.check_files(entry)


def test_more_classes_than_the_entry_says(tmp_path: Path) -> None:
    entry = folder(tmp_path, ("cat", "dog", "eel")).model_copy(update={"classes": 2})
    for ask in (sources.check_files, lambda e: sources.arrays(e, Path("unused"))):
        with pytest.raises(
            InvalidInput, match="3 class folders, the entry says classes: 2; found: cat, "
        ):
            ask(entry)


def test_other_numbers_of_channels(tmp_path: Path) -> None:
    entry = folder(tmp_path).model_copy(update={"shape": (4, 8, 8)})
    for ask in (sources.check_files, lambda e: sources.arrays(e, Path("unused"))):
        with pytest.raises(InvalidInput, match="shape: 4 channels; pictures are read with 1 or 3"):
            ask(entry)


@pytest.mark.parametrize("source", ["fake", "imagefolder"])
def test_images_that_no_machine_holds_are_one_line(source: str, tmp_path: Path) -> None:
    vast = {"shape": (3, 2**14, 2**14), "classes": 2**20}
    entry = folder(tmp_path).model_copy(update=vast)
    if source == "fake":
        entry = Dataset(source="fake", **vast)
    many = Path(tmp_path, "train", "cat", "0.png")
    for i in range(2000 if source == "imagefolder" else 0):
        many.with_name(f"copy{i}.png").hardlink_to(many)
    with pytest.raises(InvalidInput, match=r"shape \[3, 16384, 16384\]: reading the images takes"):
        load(entry, Path("unused"))
