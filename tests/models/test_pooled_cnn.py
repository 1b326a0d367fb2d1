"""The CNN of synthetic gradients as a function, written here from its description."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise import models
from modulewise.errors import InvalidInput


def pooled(h: Tensor, how: str) -> Tensor:
    """3x3 windows; what is left over is dropped."""
    n, c, a, b = h.shape
    windows = h[:, :, : a // 3 * 3, : b // 3 * 3].reshape(n, c, a // 3, 3, b // 3, 3)
    return windows.amax((3, 5)) if how == "max" else windows.mean((3, 5))


def test_scores_by_hand() -> None:
    """Three layers of 4 channels: 32 pixels to 10, 3 and 1, the first time by maxima."""
    torch.manual_seed(0)
    net = models.build("cnn3x4-pool3", (3, 32, 32), 5).double().train()
    x = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    w, h = iter(net.parameters()), x
    for how, side in (("max", 10), ("mean", 3), ("mean", 1)):
        h = F.conv2d(h, next(w), padding=2)
        mean, var = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), correction=0, keepdim=True)
        gain, shift = (next(w)[:, None, None] for _ in range(2))
        h = pooled(((h - mean) / (var + 1e-5).sqrt() * gain + shift).relu(), how)
        assert h.shape == (6, 4, side, side)
    expected = h.flatten(1) @ next(w).T + next(w)
    assert next(w, None) is None
    torch.testing.assert_close(net(x), expected, rtol=1e-9, atol=1e-12)


def test_the_published_net_has_a_cut_before_its_classifier() -> None:
    with torch.device("meta"):
        net = models.build("cnn3x128-pool3", (3, 32, 32), 10)
    assert net.names == ["1", "2", "3", "flat"]
    assert net.stage_shapes == [(128, 10, 10), (128, 3, 3), (128, 1, 1), (128,)]
    convolutions = 25 * 128 * (3 + 128 + 128)
    assert sum(p.numel() for p in net.parameters()) == convolutions + 3 * 256 + 1290


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(InvalidInput, match="3 poolings need images of 27 pixels a side at least"):
        models.build("cnn3x4-pool3", (3, 32, 26), 5)
