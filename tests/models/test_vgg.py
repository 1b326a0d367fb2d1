"""Dropout of the VGGs: where it stands, and what it drops."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modulewise import models


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return models.build(name, (3, 16, 16), 5)


@pytest.mark.parametrize("kind", ["vgg8b", "vgg11b"])
def test_dropout_begins_every_layer_but_the_first(kind: str) -> None:
    """So that a loss on what leaves a stage sees all of it."""
    made = build(f"{kind}-w4-d20")
    first, *later, hidden = made.stages
    assert not [m for m in first.modules() if "Dropout" in type(m).__name__]
    assert all(isinstance(stage[0], nn.Dropout2d) for stage in (*later, hidden))
    assert isinstance(made.head[0], nn.Dropout)
    rates = {m.p for m in made.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)}
    assert rates == {0.2}


@pytest.mark.parametrize("kind", ["vgg8b", "vgg11b"])
def test_weights_and_predictions_are_those_without_dropout(kind: str) -> None:
    plain, dropped = build(f"{kind}-w4").eval(), build(f"{kind}-w4-d20").eval()
    x = torch.rand(4, 3, 16, 16)
    assert torch.equal(plain(x), dropped(x))


def test_channels_are_dropped_whole_and_the_rest_grows() -> None:
    stage = build("vgg8b-w4-d20").stages[1]
    x = torch.rand(200, 4, 8, 8) + 1
    torch.manual_seed(1)
    kept = stage[0](x) / x
    first = kept[:, :, :1, :1]
    torch.testing.assert_close(kept, first.expand_as(kept))
    assert set(first.flatten().mul(4).round().tolist()) == {0.0, 5.0}
    assert abs(float((first == 0).double().mean()) - 0.2) < 4 * (0.16 / 800) ** 0.5
