"""What is done to pictures: against torchvision's transforms, and by arithmetic of our own."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

import made_up
from modulewise.config.dataset import Dataset, ScaledCrop
from modulewise.config.training import TrainConfig
from modulewise.data.load import streamed
from modulewise.data.scenes import distort, draw_box
from modulewise.data.streamed import Streamed
from modulewise.errors import InvalidInput
from modulewise.rng import fork


def loaded(config: Dataset, seed: int = 3, batch_size: int = 4) -> Streamed:
    return streamed(config, Path(), TrainConfig(batch_size=batch_size), seed)


def test_training_crops_are_torchvisions(tmp_path: Path) -> None:
    """`RandomResizedCrop` and the flip on the picture's own stream; each pixel is a byte."""
    data = loaded(made_up.pictures(tmp_path))
    transform = v2.Compose([v2.RandomResizedCrop((8, 8)), v2.RandomHorizontalFlip()])
    for batch in data.batches(2):
        for i, image, y in zip(batch.index, batch.image, batch.y, strict=True):
            file = data.parts.train.files.path(int(i))
            with fork(3, "augmentation", 0, 2, int(i)):
                wanted = F.pil_to_tensor(transform(Image.open(file).convert("RGB")))
            assert torch.equal((image * 255).round().byte(), wanted)
            assert int(y) == "ab".index(file.parent.name)


def test_evaluation_shows_the_middle(tmp_path: Path) -> None:
    data = loaded(made_up.pictures(tmp_path))
    transform = v2.Compose([v2.Resize(10), v2.CenterCrop((8, 8)), v2.PILToTensor()])
    files = data.parts.test.files
    wanted = [transform(Image.open(files.path(i)).convert("RGB")) for i in range(len(files))]
    batches = list(data.eval_batches("test"))
    pixels = torch.cat([data.pixels(x) for x, _ in batches])
    torch.testing.assert_close(pixels, torch.stack(wanted) / 255)
    assert torch.cat([y for _, y in batches]).tolist() == [0, 0, 0, 1, 1]


def test_a_scene_is_scaled_cropped_flipped_and_padded(tmp_path: Path) -> None:
    """Against torchvision's functions with the numbers drawn again from the picture's stream."""
    data = loaded(made_up.scenes(tmp_path, scaled_crop={"distortion": False}))
    padded = 0
    for batch in data.batches(1):
        for i, image, target in zip(batch.index, batch.image, batch.y, strict=True):
            files = data.parts.train.files
            picture = Image.open(files.path(int(i))).convert("RGB")
            labels = np.array(Image.open(files.map(int(i))))
            labels[labels == 3] = 255
            with fork(3, "augmentation", 0, 1, int(i)):
                r = 0.5 + 1.5 * float(torch.rand(()))
                size = [int(r * picture.height), int(r * picture.width)]
                picture = F.resize(picture, size)
                scaled = F.resize(
                    Image.fromarray(labels), size, interpolation=v2.InterpolationMode.NEAREST
                )
                box = draw_box(np.asarray(scaled), (16, 16), 0.75)
                flip = float(torch.rand(())) < 0.5
            pair = [F.pil_to_tensor(p.crop(box)) for p in (picture, scaled)]
            wanted, wanted_target = (F.hflip(t) if flip else t for t in pair)
            h, w = wanted.shape[1:]
            padded += (h, w) != (16, 16)
            assert torch.equal((image[:, :h, :w] * 255).round().byte(), wanted)
            assert torch.equal(target[:h, :w].byte(), wanted_target[0])
            outside = torch.ones(16, 16, dtype=torch.bool)
            outside[:h, :w] = False
            assert (target[outside] == 255).all()
            mean = torch.tensor(made_up.STATISTICS["mean"])
            assert (image[:, outside] == mean[:, None]).all()
    assert padded


def test_padding_has_the_mean_colour_and_targets_lie_in_the_unit_range(tmp_path: Path) -> None:
    data = loaded(made_up.scenes(tmp_path, scaled_crop={"scale": (0.5, 0.7)}))
    mean = torch.tensor(made_up.STATISTICS["mean"])
    for epoch in range(1, 6):
        for batch in data.batches(epoch):
            assert batch.image.min() >= 0 and batch.image.max() <= 1
            corner = batch.x[:, :, -1, -1]
            assert (corner == 0).all(), "0.7 of the largest scene is smaller than the crop"
            torch.testing.assert_close(
                data.pixels(batch.x)[:, :, -1, -1], mean.expand(len(batch.x), 3)
            )
            torch.testing.assert_close(data.pixels(batch.x), batch.image)
            assert batch.y.dtype == torch.int64 and (batch.y[:, -1, -1] == 255).all()


def test_whole_scenes_are_evaluated(tmp_path: Path) -> None:
    data = loaded(made_up.scenes(tmp_path))
    batches = list(data.eval_batches("test"))
    assert [tuple(x.shape) for x, _ in batches] == [(1, 3, 12 + i, 20 + i) for i in range(3)]
    files = data.parts.test.files
    for i, (x, y) in enumerate(batches):
        picture = F.pil_to_tensor(Image.open(files.path(i)))
        torch.testing.assert_close(data.pixels(x)[0], picture / 255)
        labels = torch.from_numpy(np.array(Image.open(files.map(i)))).long()
        assert torch.equal(y[0], torch.where(labels == 3, 255, labels))


def mostly_one() -> NDArray[np.uint8]:
    """A map of 60 x 100, of which the first 91 columns are class 0 and of the rest every pixel is
    one of three others, or unlabelled."""
    labels = np.random.default_rng(0).choice([1, 2, 3, 255], (60, 100)).astype(np.uint8)
    labels[:, :91] = 0
    return labels


def test_share_of_crops_that_the_rule_takes() -> None:
    """A crop is kept if no class has 75 % of its labelled pixels. Of n draws, each kept with
    probability p, none of the first ten is kept with probability (1 - p)^10: then the eleventh is
    taken unseen, so 1 - (1 - p)^11 of the crops follow the rule. p is counted over all places."""
    labels, size = mostly_one(), (20, 20)

    def kept(left: int, top: int) -> bool:
        part = labels[top : top + 20, left : left + 20]
        counts = np.array([(part == c).sum() for c in range(4)])
        return bool((counts > 0).sum() > 1 and counts.max() / counts.sum() < 0.75)

    p = np.mean([kept(left, top) for left in range(81) for top in range(41)])
    wanted = 1 - (1 - p) ** 11
    assert 0.02 < p < 0.2 and 0.2 < wanted < 0.9, "the rule says something here"
    with fork(0, "crops"):
        boxes = [draw_box(labels, size, 0.75) for _ in range(1000)]
        unruled = np.mean([kept(*draw_box(labels, size, 1.0)[:2]) for _ in range(1000)])
    assert all((right - left, bottom - top) == size for left, top, right, bottom in boxes)
    deviation = (wanted * (1 - wanted) / 1000) ** 0.5
    assert abs(np.mean([kept(left, top) for left, top, *_ in boxes]) - wanted) < 4 * deviation
    assert abs(unruled - p) < 4 * (p * (1 - p) / 1000) ** 0.5


@pytest.mark.parametrize("value", [0, 255], ids=["one class", "unlabelled"])
def test_a_map_that_the_rule_never_takes_is_cropped_all_the_same(value: int) -> None:
    labels = np.full((9, 12), value, np.uint8)
    left, top, right, bottom = draw_box(labels, (16, 6), 0.75)
    assert (top, bottom, right - left) == (0, 9, 6), "as much as there is"


def steps(pixel: tuple[int, int, int]) -> list[tuple[int, ...]]:
    """Colours that 400 distortions make of a pixel."""
    picture = Image.new("RGB", (1, 1), pixel)
    with fork(1, "distortion"):
        return [distort(picture).getpixel((0, 0)) for _ in range(400)]  # type: ignore[misc]


def test_distortion_of_grey_is_brightness_and_contrast() -> None:
    """Saturation and hue leave grey as it is: v of 100 becomes v + b, c v or c (v + b)."""
    made = steps((100, 100, 100))
    assert all(r == g == b for r, g, b in made)
    values = np.array([r for r, _, _ in made])
    assert 34 <= values.min() < 60 and 150 < values.max() <= 198
    unchanged = np.mean(values == 100)
    assert abs(unchanged - 0.25) < 0.09, "neither with probability 1/4, hardly ever otherwise"
    black = {r for r, _, _ in steps((0, 0, 0))}
    assert 0 in black and max(black) <= 48 and len(black) > 20


def test_distortion_turns_hue_by_a_tenth_at_most() -> None:
    made = np.array(steps((200, 60, 60))) / 255
    hue = np.array([colorsys.rgb_to_hsv(*v)[0] for v in made])
    hue = (hue + 0.5) % 1 - 0.5
    assert abs(hue).max() <= 18 / 180 + 0.01 and hue.min() < -0.08 and hue.max() > 0.07
    assert 0.3 < np.mean(abs(hue) < 0.004) < 0.65, "unchanged with probability 1/2"
    saturation = np.array([colorsys.rgb_to_hsv(*v)[1] for v in made])
    assert saturation.min() < 0.5 and saturation.max() > 0.85


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: Image.fromarray(np.array(m)[:, 1:]), r"3.png: 22x15 pixels, its picture .* 23x"),
        (lambda m: Image.new("L", m.size, 7), r"3.png: class 7; valid: 0 to 2, ignored 3"),
        (lambda m: Image.new("RGB", m.size), r"3.png: mode RGB; a map of classes has one channel"),
    ],
    ids=["size", "class", "colours"],
)
def test_a_map_that_does_not_fit_is_named(change: object, said: str, tmp_path: Path) -> None:
    data, place = loaded(made_up.scenes(tmp_path)), tmp_path / "train" / "labels" / "3.png"
    assert callable(change)
    with Image.open(place) as old:
        changed = change(old.copy())
    changed.save(place)
    with pytest.raises(InvalidInput, match=said):
        list(data.batches(1)) + list(data.eval_batches("train"))


def test_a_damaged_map_is_named(tmp_path: Path) -> None:
    data, place = loaded(made_up.scenes(tmp_path)), tmp_path / "test" / "labels" / "1.png"
    place.write_bytes(place.read_bytes()[:60])
    with pytest.raises(InvalidInput, match=r"labels/1\.png: not a readable map of classes"):
        list(data.eval_batches("test"))


def test_palettes_are_numbers(tmp_path: Path) -> None:
    config = made_up.scenes(tmp_path)
    wanted = [y for _, y in loaded(config).eval_batches("test")]
    for place in (tmp_path / "test" / "labels").iterdir():
        with Image.open(place) as old:
            made = Image.fromarray(np.array(old))
        made.putpalette([9, 9, 9, 0, 0, 0, 255, 0, 0, 1, 2, 3])
        made.save(place)
        with Image.open(place) as new:
            assert new.mode == "P"
    assert all(map(torch.equal, wanted, [y for _, y in loaded(config).eval_batches("test")]))


def test_a_scale_is_smallest_and_largest() -> None:
    with pytest.raises(ValueError, match=r"scale: smallest and largest; got 2.0 and 0.5"):
        ScaledCrop(scale=(2.0, 0.5))
