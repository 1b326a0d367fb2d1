"""Heads that give maps: published counts, sizes, what they are made of, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from modulewise import methods, models
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.models import partition
from modulewise.models.network import CutNetwork, cut
from modulewise.parts.map_heads import map_head
from modulewise.parts.stepwise_decoder import StepwiseDecoder
from modulewise.tasks.classification import Classification
from modulewise.tasks.segmentation import Segmentation

FEATURE, CITY = (1024, 64, 128), (3, 512, 1024)


def size(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def macs(part: nn.Module, feature: tuple[int, ...]) -> tuple[tuple[int, ...], float]:
    """Shape of the output for an image, and multiply-accumulates in 10^9."""
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        out = part.to("meta").eval()(torch.empty(1, *feature, device="meta"))
    return tuple(out.shape[1:]), counted.get_total_flops() / 2e9


def trunk(image: tuple[int, ...] = (3, 16, 24), after: str = "3.0") -> CutNetwork:
    torch.manual_seed(0)
    net = models.build("deeplabv3-resnet18-w8-s4", image, 4)
    return cut(net, partition.explicit(net.names, [after]), Segmentation(4))


def infopro(head: str = "fcn") -> Method:
    options = {"mode": "softmax", "head": head, "feature_dim": 16, "decoder": "stepwise"}
    return methods.build("infopro", trunk(), options)


def test_the_local_head_has_the_published_numbers() -> None:
    head = map_head("fcn", FEATURE, 19, 512)
    assert size(head) == 4_729_875
    shape, cost = macs(head, FEATURE)
    assert shape == (19, 64, 128) and round(cost, 2) == 38.73


@pytest.mark.parametrize("image", [CITY, (3, 640, 1280)])
def test_the_decoder_has_the_published_numbers_and_the_crops_size(
    image: tuple[int, int, int],
) -> None:
    feature = (1024, image[1] // 8, image[2] // 8)
    decoder = StepwiseDecoder(feature, image)
    assert size(decoder) == 172_235
    shape, cost = macs(decoder, feature)
    assert shape == image
    if image == CITY:
        assert round(cost, 2) == 2.90


@pytest.mark.parametrize("kind", ["0c1f", "1c2f", "2c2f"])
def test_others_keep_size_and_channels(kind: str) -> None:
    head = map_head(kind, (6, 5, 7), 4, hidden=8)
    convs, layers = int(kind[0]), int(kind[2])
    expected = convs * (9 * 6 * 6 + 2 * 6)
    expected += (6 * 4 + 4) if layers == 1 else (6 * 8 + 8) + (8 * 4 + 4)
    assert size(head) == expected
    assert head(torch.rand(2, 6, 5, 7)).shape == (2, 4, 5, 7)


def test_a_linear_head_is_a_linear_layer_at_every_pixel() -> None:
    torch.manual_seed(0)
    head = map_head("0c1f", (6, 5, 7), 4, hidden=8)
    h, (weight, bias) = torch.rand(2, 6, 5, 7), head.parameters()
    expected = torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], h) + bias[:, None, None]
    torch.testing.assert_close(head(h), expected)


def test_infopros_helpers_for_maps_start_from_the_librarys_default() -> None:
    """Uniform within 1 / sqrt(fan-in), weights and biases."""
    objective = infopro().objectives[0]
    convs = [m for m in objective.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == 2 + 4
    for m in convs:
        most = 1 / math.sqrt(m.in_channels * m.kernel_size[0] ** 2)
        assert 0.7 * most < m.weight.abs().max() <= most
        assert m.bias is not None and 0 < m.bias.abs().max() <= most


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("dgl", {"head": "mlp-sr"}, "targets are maps; valid: fcn, 0c1f and its kin"),
        ("dgl", {"head": "imagenet"}, "targets are maps; valid: fcn, 0c1f and its kin"),
        ("greedy", {"head": "matched"}, "head matched needs one class label per image"),
        ("infopro", {"mode": "contrast"}, "mode contrast needs one class label per image"),
        ("predsim", {}, "predsim needs one class label per image"),
        ("fixed_random", {}, "fixed_random needs one class label per image"),
        ("layerwise", {}, "layerwise needs one class label per image"),
        ("cascade", {}, "cascade needs one class label per image"),
        ("dfa", {}, "dfa needs one class label per image"),
        ("drtp", {}, "drtp needs one class label per image"),
        (
            "target_propagation",
            {"feedback_loss": "output"},
            "feedback_loss output needs one class label per image",
        ),
    ],
)
def test_what_needs_class_labels_refuses_maps_in_one_line(
    method: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        methods.build(method, trunk(), options)
    assert "\n" not in str(error.value)


def test_a_head_of_maps_refuses_class_labels_and_flat_features() -> None:
    net = models.build("resnet8", (3, 16, 16), 4)
    with pytest.raises(InvalidInput, match="head fcn gives a map of scores"):
        methods.build("dgl", cut(net, [2], Classification(4)), {"head": "fcn"})
    with pytest.raises(ValueError, match="8 values without a place"):
        map_head("0c1f", (8,), 4, 8)
