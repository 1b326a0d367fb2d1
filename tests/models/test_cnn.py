"""The plain CNNs as a function, written here from their description, and the published plans."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise import models


def normal(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """BatchNorm with the batch's own statistics."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    return (x - mean) / torch.sqrt(variance + 1e-5) * gain[:, None, None] + shift[:, None, None]


def test_scores_by_hand() -> None:
    """Four layers of 3, 6, 6 and 12 channels, one more in the classifier; 8 pixels to 2."""
    torch.manual_seed(0)
    net = models.build("cnn4x3-d2.4-h1", (3, 8, 8), 5).double().train()
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    w, h = iter(net.parameters()), x
    for halved in (False, True, False, True, False):
        if halved:
            n, c, s, _ = h.shape
            h = h.reshape(n, c, s // 2, 2, s // 2, 2).amax((3, 5))
        h = normal(F.conv2d(h, next(w), padding=1), next(w), next(w)).relu()
    assert h.shape == (6, 12, 2, 2)
    h = normal(h, next(w), next(w)).flatten(1)
    expected = h @ next(w).T + next(w)
    assert next(w, None) is None
    torch.testing.assert_close(net(x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "widths", "side", "more"),
    [
        ("cnn5x256-d3.4", (256, 256, 512, 1024, 1024), 8, 0),
        ("cnn4x128-d3-h1", (128, 128, 256, 256), 16, 1),
        ("cnn4x128-d3-h2", (128, 128, 256, 256), 16, 2),
        ("cnn6x128-d2.4", (128, 256, 256, 512, 512, 512), 8, 0),
        ("cnn4x64-d2.4", (64, 128, 128, 256), 8, 0),
    ],
)
def test_published_plans(name: str, widths: tuple[int, ...], side: int, more: int) -> None:
    with torch.device("meta"):
        net = models.build(name, (3, 32, 32), 10)
    assert [shape[0] for shape in net.stage_shapes] == list(widths)
    assert net.stage_shapes[-1][1:] == (side, side)
    c = widths[-1]
    layers = [*pairwise((3, *widths)), *((c, c) for _ in range(more))]
    count = sum(9 * a * b + 2 * b for a, b in layers) + 2 * c + 4 * c * 10 + 10
    assert sum(p.numel() for p in net.parameters()) == count
