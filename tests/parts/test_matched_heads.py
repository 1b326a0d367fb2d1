"""Greedy SL+: heads that compute as much as InfoPro's helpers, by their closed forms and by the
counter that reports use."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from counting import macs
from modulewise import methods, models
from modulewise.engine import flops
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.parts.matched import depth_and_width, infopro_macs, matched_head
from modulewise.tasks.classification import Classification

WITHIN = 0.03
"""How far a head may be from its budget: half a channel of the narrowest one, 22 channels, and a
little."""
D, CLASSES = 128, 10
FEATURES = {16: (32, 2), 32: (64, 2), 64: (64, 1)}
"""Channels of the papers' ResNets -> channels and stride of the first convolution of InfoPro's
head."""


def infopro(c: int, size: int, image: int) -> int:
    """Multiply-accumulates of the decoder's and the head's convolutions and of the head's two
    linear layers."""
    channels, stride = FEATURES[c]
    decoder = (9 * c * 12 + 9 * 12 * 3) * image**2
    return decoder + 9 * c * channels * (size // stride) ** 2 + channels * D + D * D


def matched(c: int, size: int, depth: int, width: float) -> float:
    return 9 * size**2 * (c * width + (depth - 1) * width**2) + width * CLASSES


@pytest.mark.parametrize("image", [32, 96])
@pytest.mark.parametrize(("c", "halvings"), [(16, 0), (32, 1), (64, 2)])
def test_the_budget_is_what_infopros_helpers_compute(c: int, halvings: int, image: int) -> None:
    size = image >> halvings
    assert infopro_macs((c, size, size), (3, image, image), 64) == infopro(c, size, image)


@given(st.integers(1, 400), st.integers(1, 32), st.integers(2, 100), st.floats(1e2, 1e10))
def test_depth_and_width_spend_the_budget_to_half_a_channel(
    c: int, size: int, outputs: int, budget: float
) -> None:
    def cost(width: float) -> float:
        return 9 * size**2 * (c * width + (depth - 1) * width**2) + width * outputs

    depth, width = depth_and_width((c, size, size), outputs, budget)
    assert depth >= 1
    assert cost(width - 0.5) <= budget * (1 + 1e-9) or width == 1
    assert cost(width + 0.5) >= budget * (1 - 1e-9)


@given(st.integers(8, 400), st.integers(1, 32), st.integers(2, 60))
def test_a_budget_of_whole_convolutions_keeps_the_channels(c: int, size: int, depth: int) -> None:
    assert depth_and_width((c, size, size), 2, 9 * c * c * size**2 * depth) == (depth, c)


@pytest.mark.parametrize(
    ("c", "size", "depth", "width"), [(16, 32, 1, 22), (32, 16, 2, 34), (64, 8, 4, 65)]
)
def test_heads_of_the_papers_resnets(c: int, size: int, depth: int, width: int) -> None:
    """With the budgets 3.30, 5.07 and 9.79 M: 1.4, 2.2 and 4.2 convolutions of C channels."""
    head = matched_head((c, size, size), (3, 32, 32), CLASSES, 64)
    convs = [m for m in head.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convs] == [width] * depth
    assert abs(matched(c, size, depth, width) / infopro(c, size, 32) - 1) < WITHIN
    assert head(torch.rand(2, c, size, size)).shape == (2, CLASSES)
    assert (
        flops.parameters([head])
        == 9 * (c * width + (depth - 1) * width**2) + 2 * depth * width + width * CLASSES + CLASSES
    )
    assert macs(head, (c, size, size)) == matched(c, size, depth, width)


@pytest.mark.parametrize(("name", "k"), [("resnet20", 2), ("resnet20", 4), ("densenet16-12", 4)])
def test_helpers_compute_what_infopros_compute(name: str, k: int) -> None:
    """Forward and backward, as reports count it; InfoPro's similarity matrix is no net, and
    negligible at this batch size."""

    def helpers(method: str, **options: str) -> float:
        with torch.device("meta"):
            network = models.build(name, (3, 32, 32), CLASSES)
            trunk = cut(network, partition.even(len(network.stages), k), Classification(CLASSES))
            return flops.flops(methods.build(method, trunk, options), network.image, 2).helpers

    released = helpers("infopro", resize="plain")
    assert helpers("greedy", head="matched") == pytest.approx(released, rel=WITHIN)
