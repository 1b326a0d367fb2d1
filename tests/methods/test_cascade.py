"""Cascade's classifiers by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from modulewise import methods, models
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

CLASSES = 5


def build(network: str, k: int, **options: object) -> Method:
    torch.manual_seed(0)
    net = models.build(network, (3, 8, 8), CLASSES)
    trunk = cut(net, partition.even(len(net.stages), k), Classification(CLASSES))
    return methods.build("cascade", trunk, dict(options)).double().train()


def batch() -> Batch:
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.arange(6) % CLASSES, x, torch.arange(6))


def test_the_loss_by_hand() -> None:
    made, given = build("resnet8", 3, units=7, dropout=0.0), batch()
    first = next(made.losses(given)).value
    h = made.trunk[0](given.x).flatten(1)
    a, b, c, d, e, f = made.heads[0].parameters()
    assert (a.shape, c.shape) == ((7, 16 * 8 * 8), (3, 7))
    scores = ((h @ a.T + b).relu() @ c.T + d).relu() @ e.T + f
    torch.testing.assert_close(first, F.cross_entropy(scores, given.y), rtol=1e-10, atol=0)


def test_dropout_stands_behind_both_hidden_layers() -> None:
    kinds = [type(m).__name__ for m in build("mlp2x9", 2).heads[0]]
    assert kinds == ["Flatten", *["Linear", "ReLU", "Dropout"] * 2, "Linear"]


@pytest.mark.parametrize("options", [{"units": 1}, {"dropout": 1.0}])
def test_classifiers_that_cannot_learn_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="cascade needs"):
        build("mlp2x9", 2, **options)
