"""Pictures with a map of classes each: scaled, cropped, flipped and distorted together.

The pipeline is that of InfoPro on Cityscapes (arXiv 2101.10832, released code), in this order:

1. scale by r, uniform in [1/2, 2]: to int(r w) x int(r h); pictures bilinear, maps nearest;
2. crop; another crop is drawn, up to ten times, until it holds several classes and none has 75 % or
   more of its labelled pixels; the tenth is taken whatever it holds;
3. flip with probability 1/2;
4. each with probability 1/2 and rounded to bytes: brightness, v + b with b in [-32, 32]; contrast,
   c v with c in [1/2, 3/2], with probability 1/2 before and else after saturation, s S with s in
   [1/2, 3/2], and hue, H + h with h in [-18, 17] of 180;
5. what the picture lacks of the crop's size is padding, right and below; its labels are 255.

Deviations from the released code:
1. Pillow resizes, which smoothes where it shrinks; the released code samples.
2. Saturation and hue change in Pillow's HSV, whose hue has 256 steps in place of 180.
3. The padding's colour is set behind normalisation's place, on the device (`data/streamed.py`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from modulewise.config.dataset import Dataset
from modulewise.data.files import Files, in_threads
from modulewise.data.picture import read, readable
from modulewise.data.samples import Sample
from modulewise.errors import InvalidInput

IGNORED = 255
"""Value of a pixel that no class is known of, in what the task is given."""
REDRAWS = 10
"""Number of further crops that are drawn."""


class Scenes:
    """The pipeline of `scaled_crop`.

    Args:
        config: the data set's entry.
    """

    def __init__(self, config: Dataset) -> None:
        assert config.shape and config.classes and config.scaled_crop
        (c, *size), self.crop = config.shape, config.scaled_crop
        self.height, self.width = size
        self.grey, self.flip = c == 1, config.flip
        self.classes = config.classes
        self.becomes = np.arange(256, dtype=np.uint8)
        self.becomes[config.classes :] = self.becomes[list(config.ignored)] = IGNORED
        self.known = np.arange(256) < config.classes
        self.known[list(config.ignored)] = True
        self.valid = f"0 to {config.classes - 1}, ignored {', '.join(map(str, config.ignored))}"

    def random(self, files: Files, i: int) -> Sample:
        """A random part of a scaled scene."""
        picture, labels = self._pair(files, i)
        low, high = self.crop.scale
        r = _uniform(low, high)
        w, h = (max(int(r * side), 1) for side in picture.size)
        picture = picture.resize((w, h), Image.Resampling.BILINEAR)
        labels = labels.resize((w, h), Image.Resampling.NEAREST)
        box = draw_box(np.asarray(labels), (self.height, self.width), self.crop.max_ratio)
        picture, labels = picture.crop(box), labels.crop(box)
        if self.flip and torch.rand(()) < 0.5:
            picture, labels = F.hflip(picture), F.hflip(labels)
        if self.crop.distortion:
            picture = distort(picture)
        inside = picture.height, picture.width
        padding = [0, 0, self.width - picture.width, self.height - picture.height]
        image, target = self._tensors(picture, labels)
        return Sample(F.pad(image, padding), F.pad(target[None], padding, IGNORED)[0], inside)

    def whole(self, files: Files, i: int) -> Sample:
        """A scene as it is."""
        picture, labels = self._pair(files, i)
        image, target = self._tensors(picture, labels)
        return Sample(image, target, (picture.height, picture.width))

    def _pair(self, files: Files, i: int) -> tuple[Image.Image, Image.Image]:
        """A picture and its map, in which ignored pixels are 255."""
        path, where = files.path(i), files.map(i)
        picture, values = read(path), read_map(where)
        if values.shape != (picture.height, picture.width):
            h, w = values.shape
            raise InvalidInput(
                f"{where}: {w}x{h} pixels, its picture {path} {picture.width}x{picture.height}"
            )
        if not self.known[values].all():
            wrong = int(values[~self.known[values]][0])
            raise InvalidInput(f"{where}: class {wrong}; valid: {self.valid}")
        return picture, Image.fromarray(self.becomes[values])

    def _tensors(self, picture: Image.Image, labels: Image.Image) -> tuple[Tensor, Tensor]:
        if self.grey:
            picture = picture.convert("L")
        return F.pil_to_tensor(picture), F.pil_to_tensor(labels)[0]


def read_map(path: Path) -> NDArray[np.uint8]:
    """A map of classes (H W).

    Raises:
        InvalidInput: it is damaged, or not of one channel of 8 bits.
    """
    with readable(path, "map of classes"), Image.open(path) as made:
        if made.mode not in ("L", "P"):
            raise InvalidInput(
                f"{path}: mode {made.mode}; a map of classes has one channel of 8 bits"
            )
        return np.asarray(made)


def check_sizes(files: Files, size: tuple[int, int] | None = None) -> None:
    """Compare pictures with their maps, by what their files say of width and height.

    Args:
        files: of a part.
        size: width and height of all, if they are known.

    Raises:
        InvalidInput: two differ, or a file is no picture.
    """

    def check(i: int) -> None:
        found = []
        for path in (files.path(i), files.map(i)):
            with readable(path), Image.open(path) as made:
                found.append(made.size)
            if found[-1] != (size or found[0]):
                (w, h), (width, height) = found[-1], size or found[0]
                wanted = f"valid: {width}x{height}" if size else f"its picture {width}x{height}"
                raise InvalidInput(f"{path}: {w}x{h} pixels, {wanted}")

    in_threads(check, range(len(files)), chunk=64)


def draw_box(
    labels: NDArray[np.uint8], size: tuple[int, int], max_ratio: float
) -> tuple[int, int, int, int]:
    """A crop of a map that no class rules: (left, top, right, bottom).

    Args:
        labels: the map (H W).
        size: height and width of a crop; less where the map is smaller.
        max_ratio: share of labelled pixels that each class stays below; 1 takes the first crop.
    """
    h, w = labels.shape
    height, width = min(size[0], h), min(size[1], w)

    def drawn() -> tuple[int, int]:
        return _integer(0, h - height), _integer(0, w - width)

    top, left = drawn()
    for _ in range(REDRAWS if max_ratio < 1 else 0):
        counts = np.bincount(labels[top : top + height, left : left + width].ravel())[:IGNORED]
        if (counts > 0).sum() > 1 and counts.max() < max_ratio * counts.sum():
            break
        top, left = drawn()
    return left, top, left + width, top + height


def distort(picture: Image.Image) -> Image.Image:
    """Brightness, contrast, saturation and hue of an RGB picture, changed at random."""
    if _even():
        picture = _changed(picture, _table(1.0, _uniform(-32, 32)))
    first = _even()
    if first and _even():
        picture = _changed(picture, _table(_uniform(0.5, 1.5)))
    saturation = _table(_uniform(0.5, 1.5)) if _even() else None
    hue = _turned(_integer(-18, 17)) if _even() else None
    if saturation or hue:
        same = _table(1.0)
        hsv = picture.convert("HSV").point((hue or same) + (saturation or same) + same)
        picture = hsv.convert("RGB")
    if not first and _even():
        picture = _changed(picture, _table(_uniform(0.5, 1.5)))
    return picture


def _changed(picture: Image.Image, table: list[int]) -> Image.Image:
    return picture.point(table * 3)


def _table(factor: float, more: float = 0.0) -> list[int]:
    """What every byte becomes: factor v + more, rounded and kept in 0 to 255."""
    return [min(max(round(factor * v + more), 0), 255) for v in range(256)]


def _turned(degrees: int) -> list[int]:
    """What every hue of 256 becomes when it turns by so many of 180."""
    return [(v + round(degrees * 256 / 180)) % 256 for v in range(256)]


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _integer(low: int, high: int) -> int:
    """A whole number, both ends included."""
    return int(torch.randint(low, high + 1, ()))


def _even() -> bool:
    return bool(torch.rand(()) < 0.5)
