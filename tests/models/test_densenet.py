"""DenseNet-BC as a function, written here from the paper, and how its weights start."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modulewise import models


def norm_relu(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """BatchNorm with the batch's own statistics, then ReLU."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    y = (x - mean) / torch.sqrt(variance + 1e-5) * gain[:, None, None] + shift[:, None, None]
    return y * (y > 0)


@pytest.mark.parametrize(("depth", "growth"), [(16, 3), (22, 2)])
def test_scores_and_gradients_by_hand(depth: int, growth: int) -> None:
    """In float64; weights in the order in which they were declared: normalisation before every
    convolution but the first."""
    torch.manual_seed(0)
    net = models.build(f"densenet{depth}-{growth}", (3, 8, 8), 5).double().train()
    with torch.no_grad():
        for p in net.parameters():
            if p.dim() == 1:
                p.add_(0.2 * torch.randn_like(p))
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    w = iter(net.parameters())
    h = F.conv2d(x, next(w), padding=1)
    assert h.shape[1] == 2 * growth
    for block in range(3):
        for _ in range((depth - 4) // 6):
            y = F.conv2d(norm_relu(h, next(w), next(w)), next(w))
            assert y.shape[1] == 4 * growth
            y = F.conv2d(norm_relu(y, next(w), next(w)), next(w), padding=1)
            assert y.shape[1] == growth
            h = torch.cat([h, y], 1)
        if block < 2:
            h = F.conv2d(norm_relu(h, next(w), next(w)), next(w))
            b, c, s, _ = h.shape
            h = h.reshape(b, c, s // 2, 2, s // 2, 2).mean((3, 5))
    expected = norm_relu(h, next(w), next(w)).mean((2, 3)) @ next(w).T + next(w)
    assert next(w, None) is None
    scores = net(x)
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-12)
    target = torch.randn(6, 5, dtype=torch.float64)
    mine, its = (
        torch.autograd.grad((s * target).sum(), list(net.parameters())) for s in (scores, expected)
    )
    for a, e in zip(mine, its, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-7, atol=1e-9)


def test_convolutions_start_as_in_the_papers_code() -> None:
    """N(0, 2 / (k k C_out)): every kind's spread, to four standard errors."""
    torch.manual_seed(0)
    net = models.build("densenet100-12", (3, 32, 32), 10)
    for kernel, channels in ((1, 48), (3, 12)):
        kind = [
            m
            for m in net.modules()
            if isinstance(m, nn.Conv2d)
            and m.kernel_size == (kernel, kernel)
            and m.out_channels == channels
        ]
        assert len(kind) == 48
        drawn = torch.cat([m.weight.detach().flatten() for m in kind])
        assert drawn.std().item() == pytest.approx(
            (2 / (kernel**2 * channels)) ** 0.5, rel=4 / (2 * len(drawn)) ** 0.5
        )
