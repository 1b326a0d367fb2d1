"""Every augmented batch against one made in numpy from the same draws; the draws against their
distribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from cases import CLASSES
from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data.augment import CropFlip, augment
from modulewise.data.load import resident
from modulewise.data.resident import Resident

TRAINING = TrainConfig(batch_size=5)
PADDINGS = [("zeros", 2), ("reflect", 2), ("reflect", 1), ("zeros", 0), ("zeros", 9)]


def made(
    padding: str = "zeros", pad: int = 2, flip: bool = False, size: int = 12, seed: int = 0
) -> Resident:
    """Made-up images, not square."""
    entry = Dataset(
        source="fake", shape=(3, 6, 8), classes=CLASSES, train_size=size,
        pad=pad, padding=padding, flip=flip,
        mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25),
    )  # fmt: skip
    return resident(entry, Path("unused"), TRAINING, seed)


def by_hand(
    x: NDArray[np.uint8], down: int, right: int, flip: bool, pad: int, padding: str
) -> NDArray[np.float32]:
    """Pad, crop, flip and scale one image (C H W)."""
    _, h, w = x.shape
    how = (
        {"mode": "reflect"} if padding == "reflect" else {"mode": "constant", "constant_values": 0}
    )
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)), **how)
    image = padded[:, down : down + h, right : right + w]
    return (image[:, :, ::-1] if flip else image).astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("padding", "pad"), PADDINGS)
def test_every_image_is_the_padded_cropped_and_flipped_one(
    padding: str, pad: int, flip: bool
) -> None:
    loaded = made(padding, pad, flip, seed=3)
    entry, n, seen = loaded.config, len(loaded.parts.train), []
    mean = np.array(entry.mean, dtype=np.float32)[:, None, None]
    std = np.array(entry.std, dtype=np.float32)[:, None, None]
    for view, pick in ((0, lambda b: (b.x, b.image)), (1, lambda b: (b.view(), None))):
        crop_flip = CropFlip.draw(n, entry, 3, 2, view)
        for batch in loaded.batches(2):
            x, image = pick(batch)
            for row, i in enumerate(batch.index.tolist()):
                original = loaded.parts.train.x[i].numpy()
                expected = by_hand(
                    original,
                    int(crop_flip.down[i]),
                    int(crop_flip.right[i]),
                    bool(crop_flip.flip[i]),
                    pad,
                    padding,
                )
                if image is not None:
                    assert np.array_equal(image[row].numpy(), expected)
                    seen.append(i)
                assert np.array_equal(x[row].numpy(), (expected - mean) / std)
                assert batch.y[row] == loaded.parts.train.y[i]
    assert sorted(seen) == list(range(n)), "every image once an epoch"
    assert not flip or {True, False} == set(CropFlip.draw(n, entry, 3, 2, 0).flip.tolist())


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("shape", "padding", "pad"),
    [
        ((1, 1, 1), "zeros", 1),
        ((2, 5, 7), "zeros", 3),
        ((3, 3, 2), "reflect", 1),
        ((1, 16, 16), "reflect", 2),
        ((1, 16, 16), "zeros", 0),
        ((4, 1, 9), "zeros", 2),
    ],
)
def test_every_offset_of_every_value(
    shape: tuple[int, int, int], padding: str, pad: int, flip: bool
) -> None:
    """One image that runs through the bytes, 0 and 255 first, at all offsets, flipped and not."""
    entry = Dataset(source="fake", shape=shape, classes=2, pad=pad, padding=padding, flip=flip)
    count = int(np.prod(shape))
    x = ((np.arange(count) * 255) % 256).astype(np.uint8).reshape(shape)
    span = 2 * pad + 1
    cases = [(d, r, f) for d in range(span) for r in range(span) for f in (False, True)[: 1 + flip]]
    down, right, flipped = (torch.tensor(v) for v in zip(*cases, strict=True))
    images = torch.from_numpy(x).expand(len(cases), *shape).contiguous()
    made = augment(images, CropFlip(down, right, flipped), entry).numpy()
    for image, (d, r, f) in zip(made, cases, strict=True):
        assert np.array_equal(image, by_hand(x, d, r, f, pad, padding))


def test_the_reconstruction_target_is_the_batch_before_normalisation() -> None:
    loaded = made(flip=True)
    for batch in loaded.batches(1):
        assert batch.image.min() >= 0
        assert batch.image.max() <= 1
        assert torch.equal(batch.x, loaded.normalise(batch.image))


def test_a_view_is_another_augmentation_of_the_same_samples() -> None:
    loaded = made(flip=True)
    for batch in loaded.batches(1):
        view = batch.view()
        assert view.shape == batch.x.shape
        assert not torch.equal(view, batch.x)
        assert torch.equal(view, batch.view()), "the same each time"
    still = made(pad=0)
    for batch in still.batches(1):
        assert torch.equal(batch.view(), batch.x), "without augmentation there is nothing to differ"


def test_the_trunk_is_given_the_memory_layout_that_is_asked_for() -> None:
    def all_given(channels_last: bool) -> list[torch.Tensor]:
        training = TrainConfig(batch_size=5, channels_last=channels_last)
        loaded = resident(made(flip=True).config, Path("unused"), training, 0)
        batches = list(loaded.batches(1))
        tested = [x for x, _ in loaded.eval_batches("test")]
        return [*(b.x for b in batches), *(b.view() for b in batches), *tested]

    for plain, asked in zip(all_given(False), all_given(True), strict=True):
        assert torch.equal(plain, asked)
        assert plain.is_contiguous()
        assert asked.is_contiguous(memory_format=torch.channels_last)


def test_test_images_are_not_augmented() -> None:
    loaded = made("reflect", 2, True)
    x = torch.cat([x for x, _ in loaded.eval_batches("test", size=3)])
    mean, std = (
        np.array(v, dtype=np.float32)[:, None, None]
        for v in (loaded.config.mean, loaded.config.std)
    )
    expected = (loaded.parts.test.x.numpy().astype(np.float32) / np.float32(255) - mean) / std
    assert np.array_equal(x.numpy(), expected)
    assert torch.equal(
        torch.cat([y for _, y in loaded.eval_batches("test", size=3)]), loaded.parts.test.y
    )


# Draws.

N = 20_000


@pytest.mark.parametrize("pad", [1, 2, 4])
def test_offsets_are_uniform_over_all_positions(pad: int) -> None:
    crop_flip = CropFlip.draw(N, made(pad=pad).config, 0, 1, 0)
    span = 2 * pad + 1
    counts = np.bincount((crop_flip.down * span + crop_flip.right).numpy(), minlength=span**2)
    assert len(counts) == span**2
    assert stats.chisquare(counts).pvalue > 1e-3


def test_flips_are_fair_coins() -> None:
    crop_flip = CropFlip.draw(N, made(flip=True).config, 0, 1, 0)
    assert stats.binomtest(int(crop_flip.flip.sum()), N, 0.5).pvalue > 1e-3
    table = np.histogram2d(crop_flip.flip.numpy(), crop_flip.down.numpy(), bins=(2, 5))[0]
    assert stats.chi2_contingency(table).pvalue > 1e-3, "independent of the crop"


def test_without_flip_nothing_is_flipped() -> None:
    assert not CropFlip.draw(N, made(flip=False).config, 0, 1, 0).flip.any()


def test_draws_follow_from_seed_epoch_and_view_alone() -> None:
    def flat(seed: int, epoch: int, view: int) -> torch.Tensor:
        m = CropFlip.draw(50, made(flip=True).config, seed, epoch, view)
        return torch.cat([m.down, m.right, m.flip.long()])

    torch.manual_seed(1)
    first = flat(0, 1, 0)
    torch.manual_seed(2)
    assert torch.equal(first, flat(0, 1, 0))
    for other in ((1, 1, 0), (0, 2, 0), (0, 1, 1)):
        assert not torch.equal(first, flat(*other))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("pad", "strides"), [(2, (48, 1, 8, 1)), (0, (48, 48, 8, 1))])
def test_padded_images_of_one_channel_are_channels_last(
    pad: int, strides: tuple[int, ...], flip: bool
) -> None:
    """Convolutions go by the strides: other ones would change the last bits of earlier results."""
    entry = Dataset(source="fake", shape=(1, 6, 8), classes=CLASSES, pad=pad, flip=flip)
    batch = next(resident(entry, Path("unused"), TRAINING, 0).batches(1))
    assert batch.x.stride() == batch.image.stride() == strides
