"""Segmentation: losses and mean IoU against numpy, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from modulewise import tasks
from modulewise.errors import InvalidInput
from modulewise.tasks.segmentation import IGNORED, Segmentation

C = 3


def places(n: int, size: int, aligned: bool) -> NDArray[np.float64]:
    """Where in n values those of a row of `size` are read."""
    i = np.arange(size)
    if aligned:
        return i * (n - 1) / (size - 1)
    return np.clip((i + 0.5) * n / size - 0.5, 0, n - 1)


def bilinear(x: NDArray[np.float64], size: tuple[int, int], aligned: bool) -> NDArray[np.float64]:
    """Maps (... h w) read at the places of H W."""
    for axis, (n, m) in enumerate(zip(x.shape[-2:], size, strict=True)):
        at = places(n, m, aligned)
        low = np.minimum(at.astype(int), max(n - 2, 0))
        part = at - low
        x = np.moveaxis(x, axis - 2, -1)
        x = x[..., low] * (1 - part) + x[..., np.minimum(low + 1, n - 1)] * part
        x = np.moveaxis(x, -1, axis - 2)
    return x


def entropies(scores: Tensor, y: Tensor, aligned: bool) -> NDArray[np.float64]:
    """Cross-entropy of every labelled pixel."""
    full = bilinear(scores.double().numpy(), (y.shape[1], y.shape[2]), aligned)
    log_p = full - np.log(np.exp(full).sum(1, keepdims=True))
    return np.array([-log_p[b, y[b, i, j], i, j] for b, i, j in np.argwhere(y.numpy() != IGNORED)])


def made(seed: int = 0, void: float = 0.3) -> tuple[Tensor, Tensor]:
    """Scores and auxiliary scores of two images at a third of their size, and labels."""
    g = torch.Generator().manual_seed(seed)
    outputs = 3 * torch.randn(2, 2 * C, 3, 4, generator=g, dtype=torch.float64)
    y = torch.randint(C, (2, 9, 12), generator=g)
    return outputs, torch.where(torch.rand(y.shape, generator=g) < void, IGNORED, y)


def miou(classes: Tensor, y: Tensor) -> float:
    """Of predicted classes, through the counter's own scores."""
    counter = Segmentation(C).counter()
    counter.update(torch.nn.functional.one_hot(classes, C).movedim(-1, 1).float(), y)
    return counter.compute()


def test_a_modules_own_scores_count_labelled_pixels_and_align_corners() -> None:
    outputs, y = made()
    expected = entropies(outputs[:, :C], y, aligned=True).mean()
    assert Segmentation(C).loss(outputs[:, :C], y).item() == pytest.approx(expected, rel=1e-12)


def test_the_nets_scores_count_all_pixels_and_do_not_align_corners() -> None:
    outputs, y = made()
    main, auxiliary = (entropies(half, y, False).sum() for half in outputs.split(C, 1))
    expected = (main + 0.4 * auxiliary) / y.numel()
    assert Segmentation(C).loss(outputs, y).item() == pytest.approx(expected, rel=1e-12)


def test_a_map_half_void_leaves_the_local_loss_whole_and_halves_the_nets() -> None:
    task, (outputs, y) = Segmentation(C), made(void=0.0)
    outputs = outputs[..., :1, :1].expand(-1, -1, 3, 4)  # all pixels alike
    y = y[:, :1, :1].repeat(1, 9, 12)
    half = y.clone()
    half[:, :, ::2] = IGNORED
    whole, own = task.loss(outputs, y), task.loss(outputs[:, :C], y)
    assert task.loss(outputs[:, :C], half).item() == pytest.approx(own.item(), rel=1e-12)
    assert task.loss(outputs, half).item() == pytest.approx(whole.item() / 2, rel=1e-12)


def test_a_map_without_labels_has_no_loss_and_no_gradient() -> None:
    outputs, y = made(void=1.1)
    for scores in (outputs, outputs[:, :C]):
        leaf = scores.clone().requires_grad_()
        loss = Segmentation(C).loss(leaf, y)
        loss.backward()
        assert loss.item() == 0 and leaf.grad is not None and not leaf.grad.any()


def test_void_pixels_have_no_gradient_at_the_labels_size() -> None:
    y = torch.tensor([[[0, IGNORED], [2, 1]]])
    for channels in (C, 2 * C):
        scores = torch.randn(1, channels, 2, 2, requires_grad=True)
        Segmentation(C).loss(scores, y).backward()
        assert scores.grad is not None
        assert not scores.grad[0, :, 0, 1].any() and scores.grad[0, :, 1, 1].all()


def test_the_right_classes_have_an_miou_of_100() -> None:
    y = made()[1]
    assert miou(torch.where(y == IGNORED, 0, y), y) == 100.0


def test_one_class_everywhere_has_its_share_over_the_number_of_classes() -> None:
    y = made()[1]
    labelled = y[y != IGNORED]
    for c in range(C):
        share = (labelled == c).double().mean().item()
        assert miou(torch.full_like(y, c), y) == pytest.approx(100 * share / C, rel=1e-12)


def test_a_small_map_by_hand() -> None:
    """Labels 0 0 1 1 2 2 void; predictions 0 1 1 1 2 0 2: 1/3, 2/3 and 1/2."""
    y = torch.tensor([[[0, 0, 1, 1, 2, 2, IGNORED]]])
    predicted = torch.tensor([[[0, 1, 1, 1, 2, 0, 2]]])
    assert miou(predicted, y) == pytest.approx(50.0, abs=1e-6)


def test_a_class_that_is_nowhere_is_left_out() -> None:
    y = torch.tensor([[[0, 0, 1, 1]]])
    assert miou(torch.tensor([[[0, 1, 1, 1]]]), y) == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)


def test_it_is_no_mean_over_images() -> None:
    """Intersections and unions are summed: a small image counts little."""
    counter = Segmentation(2).counter()
    for size, right in ((1, 0.0), (9, 1.0)):
        scores = torch.zeros(1, 2, size, size)
        scores[:, 0], scores[:, 1] = right, 1 - right
        counter.update(scores, torch.zeros(1, size, size, dtype=torch.long))
    assert counter.compute() == pytest.approx(100 * (81 / 82 + 0) / 2)


def test_scores_are_resized_to_the_labels_before_they_are_counted() -> None:
    outputs, y = made()
    full = bilinear(outputs[:, :C].numpy(), (9, 12), aligned=False)
    counter = Segmentation(C).counter()
    counter.update(outputs[:, :C], y)
    assert counter.compute() == pytest.approx(miou(torch.from_numpy(full.argmax(1)), y))


def test_a_split_without_a_label_is_refused_in_one_line() -> None:
    counter = Segmentation(C).counter()
    counter.update(torch.zeros(1, C, 2, 2), torch.full((1, 2, 2), IGNORED))
    with pytest.raises(InvalidInput, match="every pixel is 255"):
        counter.compute()


def test_the_ignored_value_is_no_class() -> None:
    assert tasks.build("segmentation", 255).outputs == 255
    with pytest.raises(InvalidInput, match="valid: 2 to 255"):
        tasks.build("segmentation", 256)
