"""DeepLabV3 against published counts and torchvision's dilated ResNets."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from modulewise import models
from modulewise.errors import InvalidInput
from modulewise.models import partition
from modulewise.models.network import Network, cut
from modulewise.tasks.segmentation import Segmentation

CITY = (3, 512, 1024)


def size(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def macs(part: nn.Module, x: Tensor) -> tuple[Tensor, float]:
    """Output, and multiply-accumulates in 10^9."""
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        out = part(x)
    return out, counted.get_total_flops() / 2e9


@pytest.fixture(scope="module")
def published() -> Network:
    """The net of the papers' table, without weights."""
    with torch.device("meta"):
        return models.build("deeplabv3-resnet101", CITY, 19).eval()


def test_parameters_are_the_published_numbers(published: Network) -> None:
    head = published.head
    (after,) = partition.explicit(published.names, ["3.12"])
    assert after == 1 + 3 + 4 + 13
    assert size(*published.stages, head.group) == 42_519_392
    assert size(*published.stages[:after]) == 16_382_816
    assert size(*published.stages[after:], head.group) == 26_136_576
    assert size(head.pyramid) == 42_221_075
    assert size(head.auxiliary) == 2_364_691


def test_operations_and_maps_are_the_published_ones(published: Network) -> None:
    head, stages = published.head, published.stages
    h, first = macs(nn.Sequential(*stages[:21]), torch.empty(1, *CITY, device="meta"))
    h, rest = macs(nn.Sequential(*stages[21:]), h)
    deep, group = macs(head.group, h)
    assert round(first, 1) == 143.3 and round(rest + group, 1) == 213.7
    assert round(macs(head.pyramid, deep)[1], 1) == 337.2
    assert round(macs(head.auxiliary, h)[1], 1) == 19.4
    shapes = dict(zip(published.names, published.stage_shapes, strict=True))
    assert shapes["1.2"] == (256, 128, 256) and shapes["2.3"] == (512, 64, 128)
    assert shapes["3.12"] == shapes["3.22"] == (1024, 64, 128)
    assert deep.shape[1:] == (2048, 64, 128)


def test_groups_are_torchvisions_with_strides_replaced_by_dilation() -> None:
    """Bit for bit, with the same weights."""
    from torchvision.models import resnet50

    torch.manual_seed(0)
    theirs = resnet50(replace_stride_with_dilation=[False, True, True]).eval()
    ours = models.build("deeplabv3-resnet50-w4", (3, 64, 72), 5).eval()
    blocks = dict(zip(ours.names, ours.stages, strict=True))
    h = x = torch.rand(1, 64, 16, 18)
    for g in (1, 2, 3):
        layer = theirs.get_submodule(f"layer{g}")
        x = layer(x)
        for b, block in enumerate(layer):
            blocks[f"{g}.{b}"].load_state_dict(block.state_dict())
            h = blocks[f"{g}.{b}"](h)
        assert torch.equal(h, x)
    ours.head.group.load_state_dict(theirs.layer4.state_dict())
    assert torch.equal(ours.head.group(h), theirs.layer4(x))
    assert h.shape[2:] == (8, 9)


def test_the_pyramid_is_its_formula() -> None:
    torch.manual_seed(0)
    pyramid = models.build("deeplabv3-resnet18-w6-s4", (3, 16, 16), 5).head.pyramid.eval()
    h = torch.rand(2, 32, 5, 6)

    def relued(branch: nn.Module, h: Tensor, dilation: int, kernel: int) -> Tensor:
        weight = branch[0].weight
        assert weight.shape[2:] == (kernel, kernel)
        padding = dilation * (kernel // 2)
        out = torch.nn.functional.conv2d(h, weight, None, 1, padding, dilation)
        return torch.relu(branch[1](out))

    mean = relued(pyramid.mean, h.mean((2, 3), keepdim=True), 1, 1)
    whole = [torch.nn.functional.interpolate(mean, size=(5, 6), mode="bilinear")]
    for branch, d in zip(pyramid.branches, (1, 12, 24, 36), strict=True):
        whole.append(relued(branch, h, d, 1 if d == 1 else 3))
    narrowed, _, last = pyramid.classifier
    expected = last(relued(narrowed, torch.cat(whole, 1), 1, 3))
    torch.testing.assert_close(pyramid(h), expected)


def test_in_training_the_auxiliary_scores_lie_behind_the_others() -> None:
    torch.manual_seed(0)
    net = models.build("deeplabv3-resnet18-w8-s4", (3, 16, 16), 5)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d | nn.Dropout2d):
            m.eval()
    net.training = net.head.training = True
    x = torch.rand(2, 3, 16, 16)
    both = net(x)
    h = nn.Sequential(*net.stages)(x)
    assert both.shape == (2, 10, 2, 2)
    assert torch.equal(both[:, 5:], net.head.auxiliary(h))
    assert torch.equal(both[:, :5], net.eval()(x))


def test_weights_start_as_released() -> None:
    torch.manual_seed(0)
    net = models.build("deeplabv3-resnet50-w128", (3, 16, 16), 19)
    last = [net.head.pyramid.classifier[-1], net.head.auxiliary[-1]]
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            assert torch.equal(m.weight, torch.ones_like(m.weight)) and not m.bias.any()
        if isinstance(m, nn.Conv2d) and m.weight.numel() > 1000:
            fan_out = m.out_channels * m.kernel_size[0] ** 2
            std = 0.01 if m in last else math.sqrt(2 / fan_out)
            slack = 5 / math.sqrt(2 * m.weight.numel())
            assert abs(m.weight.std().item() / std - 1) < slack
    assert not any(m.bias.any() for m in last)
    assert {id(m) for m in net.modules() if getattr(m, "bias", None) is not None} >= set(
        map(id, last)
    )


@pytest.mark.parametrize("name", ["deeplabv3-resnet18-w8-s4", "deeplabv3-resnet50-w4-s4"])
def test_cuts_reach_to_the_end_of_group_3_and_no_further(name: str) -> None:
    net = models.build(name, (3, 16, 16), 5)
    last = net.names[-2]
    (after,) = partition.explicit(net.names, [last])
    trunk = cut(net, [after], Segmentation(5))
    assert size(trunk.modules[1]) == size(net.head)
    for later in ("4", "4.0"):
        with pytest.raises(InvalidInput, match=f"stage to cut after.*{last}") as error:
            partition.explicit(net.names, [later])
        assert "\n" not in str(error.value)


def test_maps_of_other_sizes_end_at_an_eighth_rounded_up() -> None:
    net = models.build("deeplabv3-resnet18-w8-s4", (3, 16, 16), 5).eval()
    for side, eighth in ((8, 1), (9, 2), (30, 4), (40, 5)):
        assert net(torch.rand(1, 3, side, 16)).shape[2:] == (eighth, 2)


@pytest.mark.parametrize("name", ["deeplabv3-resnet18-w1", "deeplabv3-resnet18-s5000"])
def test_impossible_widths_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(InvalidInput, match="2 to 4096 channels") as error:
        models.build(name, (3, 16, 16), 5)
    assert "\n" not in str(error.value)
