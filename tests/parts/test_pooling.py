"""Pooling until a linear layer can bear what is left."""

from __future__ import annotations

import math

import pytest
import torch

from modulewise.parts.pooling import flattened, kernel, windows


@pytest.mark.parametrize(
    ("feature", "most", "expected"),
    [
        ((128, 32, 32), 2048, (8, 8)),  # VGG8B at 32 pixels, the layers before their pooling
        ((256, 32, 32), 2048, (16, 8)),
        ((256, 16, 16), 2048, (8, 4)),
        ((512, 16, 16), 2048, (8, 8)),
        ((512, 8, 8), 2048, (4, 4)),
        ((512, 4, 4), 2048, (2, 2)),
        ((512, 2, 2), 2048, (1, 1)),
        ((512, 4, 4), 4096, (2, 1)),
        ((7, 5, 3), 42, (2, 2)),
        ((7, 5, 3), 7, (8, 4)),
        ((7, 5, 3), 1, (8, 4)),  # channels are never pooled
    ],
)
def test_the_smallest_kernel_that_fits(
    feature: tuple[int, int, int], most: int, expected: tuple[int, int]
) -> None:
    assert kernel(feature, most) == expected


@pytest.mark.parametrize("feature", [(3, 5, 7), (3, 4, 4), (3, 1, 1), (11,)])
@pytest.mark.parametrize("most", [1, 9, 20, 10**6])
def test_windows_average_what_they_cover(feature: tuple[int, ...], most: int) -> None:
    layers, size = flattened(feature, most)
    h = torch.randn(2, *feature, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = layers(h)
    assert found.shape == (2, size)
    if len(feature) == 1:
        assert torch.equal(found, h)
        return
    (_, height, width), (a, b) = feature, kernel(feature, most)
    by_hand = [
        h[:, c, i : i + a, j : j + b].mean(dim=(1, 2))
        for c in range(feature[0])
        for i in range(0, height, a)
        for j in range(0, width, b)
    ]
    torch.testing.assert_close(found, torch.stack(by_hand, 1), rtol=1e-12, atol=1e-14)
    assert size <= most or size == feature[0]
    assert size == len(by_hand) == feature[0] * math.ceil(height / a) * math.ceil(width / b)


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (3, 4), (5, 7), (8, 9)])
@pytest.mark.parametrize("shape", [(8, 8), (5, 7), (1, 1)])
def test_two_products_pool_to_any_size(shape: tuple[int, int], size: tuple[int, int]) -> None:
    h = torch.randn(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows, columns = (windows(n, m, h) for n, m in zip(shape, size, strict=True))
    expected = torch.nn.functional.adaptive_avg_pool2d(h, size)
    torch.testing.assert_close(rows @ h @ columns.T, expected, rtol=1e-12, atol=1e-14)
