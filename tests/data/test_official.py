"""ImageNet and Cityscapes in their official folders, with official numbers made small; and what
`modulewise data` says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import made_up
from modulewise.cli.data import data as check
from modulewise.config.dataset import Dataset, ScaledCrop
from modulewise.config.loading import read_yaml
from modulewise.data import sources
from modulewise.data.load import load
from modulewise.data.sources import cityscapes, imagenet
from modulewise.errors import InvalidInput

SHIPPED = read_yaml(Path(__file__).parents[2] / "config/datasets.yaml")["datasets"]
CLASSES = ("n01440764", "n01443537", "n01484850")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of two or three, and of one image."""
    monkeypatch.setattr(imagenet, "SIZES", (8, 3))
    monkeypatch.setattr(imagenet, "CLASSES", 3)
    monkeypatch.setattr(imagenet, "PER_CLASS", ((2, 3), (1, 1)))
    rng = np.random.default_rng(0)
    for part, counts in (("train", (3, 2, 3)), ("val", (1, 1, 1))):
        for name, n in zip(CLASSES, counts, strict=True):
            folder = tmp_path / "imagenet" / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                made_up.noise(rng, 20, 16).save(folder / f"{name}_{i}.JPEG", format="jpeg")
    return tmp_path


@pytest.fixture
def streets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cities of two images, and one of one."""
    monkeypatch.setattr(cityscapes, "SIZES", (4, 1))
    monkeypatch.setattr(cityscapes, "PICTURE", (32, 16))
    rng = np.random.default_rng(0)
    for part, city, n in (("train", "aachen", 2), ("train", "ulm", 2), ("val", "munster", 1)):
        for i in range(n):
            stem = f"{city}_{i:06}_000019"
            folders = [
                tmp_path / "cityscapes" / kind / part / city for kind in ("leftImg8bit", "gtFine")
            ]
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            made_up.noise(rng, 32, 16).save(folders[0] / f"{stem}_leftImg8bit.png")
            labels = rng.choice([0, 5, 18, 255], (16, 32)).astype(np.uint8)
            Image.fromarray(labels).save(folders[1] / f"{stem}_gtFine_labelTrainIds.png")
            Image.fromarray(labels).save(folders[1] / f"{stem}_gtFine_labelIds.png")
    return tmp_path


def small(name: str, **more: Any) -> Dataset:
    return Dataset(**SHIPPED[name] | {"shape": (3, 8, 8)} | more)


STREETS = Dataset(
    source="cityscapes", shape=(3, 8, 16), classes=19, scaled_crop={}, flip=True,
    **made_up.STATISTICS,
)  # fmt: skip


def test_the_shipped_entries_have_the_published_values() -> None:
    """Companion numbers of InfoPro's code: 1,281,167 and 50,000 images, crop 224 of 256."""
    entry = Dataset(**SHIPPED["imagenet"])
    assert sources.sizes(entry, Path("unused")) == (1_281_167, 50_000)
    assert sources.shape_and_classes(entry, Path("unused")) == ((3, 224, 224), 1000)
    crop = entry.resized_crop
    assert crop and (crop.area, crop.resize) == ((0.08, 1.0), 256)
    assert crop.ratio == pytest.approx((3 / 4, 4 / 3))
    assert entry.flip and entry.mean == (0.485, 0.456, 0.406) and entry.std == (0.229, 0.224, 0.225)
    assert sources.sizes(STREETS, Path("unused")) == (2_975, 500)
    for name, shape in (("cityscapes", (3, 512, 1024)), ("cityscapes-640x1280", (3, 640, 1280))):
        entry = Dataset(**SHIPPED[name])
        assert sources.shape_and_classes(entry, Path("unused")) == (shape, 19)
        assert entry.task == "segmentation" and entry.flip and entry.ignored == (255,)
        assert entry.scaled_crop == ScaledCrop(scale=(0.5, 2.0), max_ratio=0.75, distortion=True)
        assert [round(255 * v, 3) for v in entry.mean or ()] == [123.675, 116.28, 103.53]
        assert [round(255 * v, 3) for v in entry.std or ()] == [58.395, 57.12, 57.375]


def test_imagenet_has_its_classes_by_name(images: Path) -> None:
    data = load(small("imagenet"), images)
    assert data.sizes == (8, 0, 3) and data.task.outputs == 1000
    ((_, y),) = data.eval_batches("train")
    assert y.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]


def test_cityscapes_pairs_images_with_train_ids(streets: Path) -> None:
    data = load(STREETS, streets)
    assert data.sizes == (4, 0, 1)
    ((x, y),) = data.eval_batches("test")
    assert x.shape == (1, 3, 16, 32) and set(y.unique().tolist()) == {0, 5, 18, 255}


def said(entry: Dataset, root: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    check("it", entry.model_dump_json(exclude_defaults=True), root=root, mark=None)
    name, line = capsys.readouterr().out.split(": ", 1)
    assert name == "it"
    return dict(json.loads(line))


def test_the_check_counts(images: Path, streets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for entry, counts in ((small("imagenet"), [8, 3, 1000]), (STREETS, [4, 1, 19])):
        found = said(entry, images, capsys)
        assert [found[key] for key in ("train", "test", "classes")] == counts
        assert found["digest"] == load(entry, images).digest


def wrong(entry: Dataset, root: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        check("it", entry.model_dump_json(exclude_defaults=True), root=root, mark=None)
    return str(caught.value).removeprefix("data set it: ").replace(f"{root}/", "")


def test_what_is_wrong_with_imagenet_is_said_before_the_first_job(images: Path) -> None:
    entry, train = small("imagenet"), images / "imagenet/train"
    picture = train / CLASSES[1] / f"{CLASSES[1]}_0.JPEG"
    content = picture.read_bytes()
    picture.write_bytes(b"")
    assert wrong(entry, images) == f"{picture.relative_to(images)}: empty file"
    picture.unlink()
    assert wrong(entry, images) == (
        f"imagenet/train/{CLASSES[1]}: 1 images; official classes hold 2 to 3"
    )
    (train / CLASSES[0] / f"{CLASSES[0]}_2.JPEG").unlink()
    picture.write_bytes(content)
    assert wrong(entry, images) == "imagenet/train: 7 images; ImageNet has 8"
    (images / "imagenet/val" / CLASSES[2]).rename(images / "imagenet/val/other")
    (train / CLASSES[0] / f"{CLASSES[0]}_2.JPEG").write_bytes(content)
    assert wrong(entry, images) == (
        f"imagenet/val: no class folder {CLASSES[2]}; its images are sorted like those of train/"
    )
    (train / "more").mkdir()
    assert wrong(entry, images) == "imagenet/train: 4 class folders; ImageNet has 3"
    assert wrong(entry, images / "none") == "imagenet/train: no such folder"


def test_what_is_wrong_with_cityscapes_is_said_before_the_first_job(streets: Path) -> None:
    home = streets / "cityscapes"
    labels = home / "gtFine/train/ulm/ulm_000001_000019_gtFine_labelTrainIds.png"
    Image.new("L", (32, 15)).save(labels)
    assert wrong(STREETS, streets) == f"{labels.relative_to(streets)}: 32x15 pixels, valid: 32x16"
    labels.unlink()
    assert wrong(STREETS, streets) == f"{labels.relative_to(streets)}: No such file or directory"
    next((home / "leftImg8bit/train/ulm").iterdir()).unlink()
    assert wrong(STREETS, streets) == ("cityscapes/leftImg8bit/train: 3 images; Cityscapes has 4")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"scaled_crop": {}, "resized_crop": None}, "imagenet data set needs resized_crop"),
        ({"scaled_crop": {}}, "scaled_crop: not for source imagenet; valid: resized_crop"),
        ({"pad": 4}, "pad: not beside resized_crop; leave it out"),
        ({"resized_crop": {"resize": 7}}, "resized_crop.resize: 7 pixels hold no 8; at least 8"),
        ({"mean": None, "std": None}, "mean and std: missing"),
        ({"shape": (2, 8, 8)}, "shape: 2 channels; pictures are read with 1 or 3"),
        ({"source": "fake"}, "resized_crop: not for source fake; its images are held in memory"),
        ({"resized_crop": {"area": (0.5, 0.1)}}, "area: smallest and largest, above 0; got 0.5"),
    ],
    ids=["needs", "other", "pad", "resize", "mean", "channels", "held", "area"],
)
def test_an_entry_that_does_not_fit_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sources.shape_and_classes(small("imagenet", **more), Path("unused"))
