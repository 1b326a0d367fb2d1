"""Classifiers of layer-wise learning: one of two layers by hand, and what k counts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modulewise import methods, models
from modulewise.method import Batch, Method
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

CLASSES = 5


def build(network: str, k: int, **options: object) -> Method:
    torch.manual_seed(0)
    net = models.build(network, (3, 8, 8), CLASSES)
    trunk = cut(net, partition.even(len(net.stages), k), Classification(CLASSES))
    return methods.build("layerwise", trunk, dict(options)).double().train()


def batch() -> Batch:
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.arange(6) % CLASSES, x, torch.arange(6))


def normal(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """BatchNorm with the batch's own statistics."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    return (x - mean) / torch.sqrt(variance + 1e-5) * gain[:, None, None] + shift[:, None, None]


def test_the_loss_of_two_layers_by_hand() -> None:
    made, given = build("cnn2x3", 2, auxiliary=2), batch()
    first = next(made.losses(given)).value
    w = iter(made.heads[0].parameters())
    h = made.trunk[0](given.x)
    h = normal(F.conv2d(h, next(w), padding=1), next(w), next(w)).relu()
    h = h.reshape(6, 3, 2, 4, 2, 4).mean((3, 5))
    h = normal(h, next(w), next(w)).flatten(1)
    expected = F.cross_entropy(h @ next(w).T + next(w), given.y)
    assert next(w, None) is None
    torch.testing.assert_close(first, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("auxiliary", [1, 2, 3])
def test_k_counts_the_layers_with_weights(auxiliary: int) -> None:
    made = build("cnn3x8-d2", 3, auxiliary=auxiliary)
    for head, c in zip(made.heads, (8, 16), strict=True):
        weighty = [m for m in head.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert len(weighty) == auxiliary
        count = (auxiliary - 1) * (9 * c * c + 2 * c) + 2 * c + 4 * c * CLASSES + CLASSES
        assert sum(p.numel() for p in head.parameters()) == count


def test_a_net_can_end_like_the_classifiers() -> None:
    """`-h1`: the last module's classifier has the layers of the others'."""
    made = build("cnn3x8-h1", 3, auxiliary=2)
    mine = [tuple(p.shape) for p in made.heads[1].parameters()]
    assert [tuple(p.shape) for p in made.trunk[2][-1].parameters()] == mine
