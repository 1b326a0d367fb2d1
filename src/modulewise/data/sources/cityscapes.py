"""Cityscapes in its official folders, fine labels of 19 classes.

leftImg8bit/{train,val}/CITY/*_leftImg8bit.png, with maps of the same names in gtFine that end in
_gtFine_labelTrainIds.png (made by the official script `csCreateTrainIdLabelImgs`). The validation
images are those to test on.
"""

from __future__ import annotations

from pathlib import Path

from modulewise.config.dataset import Dataset
from modulewise.data.files import Files
from modulewise.data.files import files as named
from modulewise.data.folders import folders
from modulewise.data.sources import user_path
from modulewise.errors import InvalidInput

NEEDS = ("shape", "classes", "scaled_crop")
CROP = "scaled_crop"
SIZES = (2_975, 500)
"""Number of training and of validation images."""
PICTURE = (2048, 1024)
"""Width and height of every image and map."""
IMAGE, LABELS = "_leftImg8bit.png", "_gtFine_labelTrainIds.png"


def files(config: Dataset, root: Path) -> tuple[Files, Files]:
    """Images and maps of both parts.

    Raises:
        InvalidInput: not the official number of images.
    """
    home = location(config, root)
    train, test = (_part(home, part, n) for part, n in zip(("train", "val"), SIZES, strict=True))
    return train, test


def sizes(config: Dataset, root: Path) -> tuple[int, int]:
    """As published."""
    return SIZES


def location(config: Dataset, root: Path) -> Path:
    """The folder of leftImg8bit/ and gtFine/: the entry's path, or `cityscapes` among the
    downloads."""
    return user_path(config) if config.path else root / "cityscapes"


def _part(home: Path, part: str, n: int) -> Files:
    """A part's images and the maps that belong to them, counted; whether each map is there, the
    digest finds out."""
    folder = home / "leftImg8bit" / part
    images = [
        image
        for city in folders(folder)
        for image in sorted((folder / city).glob(f"*{IMAGE}"))
        if not image.name.startswith(".")
    ]
    if len(images) != n:
        raise InvalidInput(f"{folder}: {len(images):,} images; Cityscapes has {n:,}")
    maps = [
        home / "gtFine" / part / image.parent.name / image.name.replace(IMAGE, LABELS)
        for image in images
    ]
    return named(home, images, maps)
