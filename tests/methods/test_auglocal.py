"""AugLocal's heads: which stages they are made like, how deep they are, what they hold."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from counting import macs
from modulewise import methods, models
from modulewise.config.resolve import Catalog
from modulewise.engine.flops import parameters
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.methods.auglocal import pyramidal, sampled
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.models.resnet_cifar import Block
from modulewise.tasks.classification import Classification

ROOT = Path(__file__).parents[2]


def build(network: str, k: int, size: int = 32, **options: object) -> Method:
    with torch.device("meta"):
        net = models.build(network, (3, size, size), 10)
        return methods.build(
            "auglocal",
            cut(net, partition.even(len(net.stages), k), Classification(10)),
            dict(options),
        )


@given(st.integers(2, 60), st.integers(1, 12), st.data())
def test_layers_are_sampled_uniformly_from_those_that_follow(
    stages: int, depth: int, data: st.DataObject
) -> None:
    """Against the paper's rule in exact fractions; halves round to the even stage, as in the
    released code."""
    stage = data.draw(st.integers(0, stages - 2))
    left = stages - 1 - stage
    found = sampled(stage, depth, stages)
    assert len(found) == min(depth, left)
    assert found[-1] == stages - 1
    assert all(stage < a for a in found)
    if depth < left:
        assert found == [round(stage + Fraction(left * j, depth)) for j in range(1, depth + 1)]


@pytest.mark.parametrize(
    ("stage", "depth", "stages", "expected"),
    [
        (0, 3, 16, [5, 10, 15]),
        (0, 2, 16, [8, 15]),  # 7.5 rounds to 8
        (5, 6, 55, [13, 21, 30, 38, 46, 54]),  # steps of 49/6
        (12, 3, 16, [13, 14, 15]),
        (13, 3, 16, [14, 15]),
        (14, 3, 16, [15]),
    ],
)
def test_layers_by_hand(stage: int, depth: int, stages: int, expected: list[int]) -> None:
    assert sampled(stage, depth, stages) == expected


@pytest.mark.parametrize(
    ("depth", "pyramid", "modules", "expected"),
    [
        (6, 0.0, 5, [6, 6, 6, 6]),
        (6, 1.0, 7, [6, 5, 4, 3, 2, 1]),
        (5, 0.5, 6, [5, 4, 4, 4, 3]),  # 5, 4.5 to the even 4, 4, 3.5 to the even 4, 3
        (1, 0.5, 4, [1, 1, 1]),
        (4, 1.0, 2, [4]),
        (4, 1.0, 1, []),
    ],
)
def test_depth_falls_towards_the_end(
    depth: int, pyramid: float, modules: int, expected: list[int]
) -> None:
    assert pyramidal(depth, pyramid, modules) == expected


def block(c_in: int, c_out: int, halves: bool) -> int:
    """Parameters of a ResNet's block."""
    shortcut = c_in * c_out + 2 * c_out if halves or c_in != c_out else 0
    return 9 * c_in * c_out + 9 * c_out * c_out + 4 * c_out + shortcut


def block_macs(c_in: int, c_out: int, size: int) -> int:
    """Multiply-accumulates of a ResNet's block whose output has that many pixels a side; a
    projection where channels change."""
    return (9 * c_in * c_out + 9 * c_out * c_out + (c_in * c_out if c_in != c_out else 0)) * size**2


def test_heads_of_resnet_32_by_hand() -> None:
    """Sixteen modules, d = 3, no pyramid. Module 0 ends with the stem: blocks like 5, 10, 15, of
    16, 32 and 64 channels."""
    heads = build("resnet32", 16, depth=3, pyramid=0.0).heads
    classifier = 64 * 10 + 10
    assert (
        parameters([heads[0]])
        == block(16, 16, False) + block(16, 32, True) + block(32, 64, True) + classifier
    )
    assert (
        parameters([heads[7]])
        == block(32, 32, False) + block(32, 64, True) + block(64, 64, False) + classifier
    )
    assert parameters([heads[14]]) == block(64, 64, False) + classifier
    assert (
        macs(heads[0], (16, 32, 32))
        == block_macs(16, 16, 32) + block_macs(16, 32, 16) + block_macs(32, 64, 8) + 640
    )
    assert (
        macs(heads[7], (32, 16, 16))
        == block_macs(32, 32, 16) + block_macs(32, 64, 8) + block_macs(64, 64, 8) + 640
    )
    assert macs(heads[14], (64, 8, 8)) == block_macs(64, 64, 8) + 640
    assert [sum(isinstance(m, Block) for m in h) for h in heads] == [3] * 13 + [2, 1]


def test_the_released_cuts() -> None:
    """ "K = 16, d = 3" of ResNet-32: 13 modules, whose last holds four blocks; the pyramid falls
    over the 12 heads, by half of d - 1 = 2 layers."""
    catalog = Catalog(ROOT / "config/recipes.yaml", ROOT / "config/datasets.yaml")
    cell = catalog.cell("cifar10", "resnet32", "auglocal-released", 13, 0)
    with torch.device("meta"):
        net = models.build("resnet32", (3, 32, 32), 10)
        trunk = cut(net, partition.resolve(net, cell.partition, 13), Classification(10))
        made = methods.build("auglocal", trunk, {"depth": 3})
    held = [sum(isinstance(m, Block) for m in module) for module in made.trunk]
    assert held == [0] + [1] * 11 + [4]  # the first module is the stem
    blocks = [sum(isinstance(m, Block) for m in head) for head in made.heads]
    assert blocks == [3] * 6 + [2] * 6
    assert made.horizon == 1 and cell.training.epochs == 400


def test_a_layer_halves_once_and_the_next_goes_on() -> None:
    """From 16 channels at 32 pixels to stages of 64 channels at 8: the first block halves to 16
    pixels, the second to 8."""
    net = models.build("resnet20", (3, 32, 32), 10)
    first = net.layer((16, 32, 32), 8)
    second = net.layer((64, 16, 16), 9)
    third = net.layer((64, 8, 8), 9)
    x = first(torch.rand(2, 16, 32, 32))
    assert x.shape == (2, 64, 16, 16)
    assert second(x).shape == third(second(x)).shape == (2, 64, 8, 8)


def test_a_head_of_one_layer_has_batchnorm_before_its_classifier() -> None:
    shallow, deep = (
        build("resnet20", 4, depth=1).heads,
        build("resnet20", 4, depth=2, pyramid=0.0).heads,
    )
    assert [[isinstance(m, nn.BatchNorm1d) for m in h].count(True) for h in shallow] == [1, 1, 1]
    assert not any(isinstance(m, nn.BatchNorm1d) for h in deep for m in h)


@pytest.mark.parametrize(
    ("network", "size"),
    [("resnet14", 10), ("resnet18-pre-w4", 32), ("vgg8b-w4", 8), ("vgg8b-w4", 32), ("mlp4x16", 8)],
)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_heads_stand_on_every_stage(network: str, size: int, depth: int) -> None:
    net = models.build(network, (3, size, size), 10)
    trunk = cut(net, partition.even(len(net.stages), len(net.stages)), Classification(10))
    made = methods.build("auglocal", trunk, {"depth": depth})
    assert all(o.shape == (3, 10) for o in made.outputs(torch.rand(3, 3, size, size)))


def test_vgg_heads_hold_the_hidden_layer_at_its_own_size() -> None:
    """vgg8b-w4 on 32 pixels: behind the first convolution, d = 1 samples the hidden layer, which
    sees 2x2 maps."""
    head = build("vgg8b-w4", 7, depth=1).heads[0]
    assert parameters([head]) == (4 * 4 * 32 + 32) + 2 * 32 + 2 * 32 + 32 * 10 + 10


def test_a_network_without_layers_to_copy_is_refused() -> None:
    with pytest.raises(InvalidInput, match="builds layers like its own stages"):
        build("densenet10-3", 2)
