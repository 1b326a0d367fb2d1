"""InfoPro's helpers for large images: published sizes, and their values in float64 against a
reference written here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from counting import macs
from modulewise import methods, models
from modulewise.engine.flops import parameters
from modulewise.errors import InvalidInput
from modulewise.method import Batch
from modulewise.models.network import cut
from modulewise.parts.heads import label_head
from modulewise.parts.stepwise_decoder import StepwiseDecoder
from modulewise.tasks.classification import Classification

IMAGE = (3, 224, 224)
EIGHTH, SIXTEENTH = (512, 28, 28), (1024, 14, 14)
TRUNKS = {7.801e9: 5.73, 11.514e9: 3.88, 16.414e9: 2.72}
"""Multiply-accumulates of ResNet-101, ResNet-152 and ResNeXt-101 -> share of the helpers at an
eighth, in percent; InfoPro's table 4 prints 5.7, 3.9 and 2.7."""


@pytest.mark.parametrize(
    ("feature", "decoder", "head"),
    [
        (EIGHTH, (106_699, 226.6), (4_643_560, 220.4)),
        (SIXTEENTH, (232_011, 165.6), (5_135_336, 118.0)),
    ],
)
def test_published_sizes(
    feature: tuple[int, ...], decoder: tuple[int, float], head: tuple[int, float]
) -> None:
    """Parameters, and 10^6 multiply-accumulates."""
    nets = (StepwiseDecoder(feature, IMAGE), label_head("imagenet", feature, 1000, 2048))
    for net, (count, operations) in zip(nets, (decoder, head), strict=True):
        assert parameters([net]) == count
        assert macs(net, feature) / 1e6 == pytest.approx(operations, abs=0.05)


def test_published_shares_of_the_trunks() -> None:
    nets = (StepwiseDecoder(EIGHTH, IMAGE), label_head("imagenet", EIGHTH, 1000, 2048))
    helpers = sum(macs(net, EIGHTH) for net in nets)
    for trunk, share in TRUNKS.items():
        assert 100 * helpers / trunk == pytest.approx(share, abs=0.005)


def test_the_decoder_of_cityscapes_is_the_same() -> None:
    decoder = StepwiseDecoder((1024, 64, 128), (3, 512, 1024))
    assert parameters([decoder]) == 172_235
    assert macs(decoder, (1024, 64, 128)) / 1e9 == pytest.approx(2.90, abs=0.005)


@pytest.mark.parametrize("size", [(224, 224), (512, 1024), (640, 1280), (64, 64), (96, 90)])
@pytest.mark.parametrize("part", [1, 2, 4, 8, 16, 32])
def test_reconstructions_have_exactly_the_images_size(part: int, size: tuple[int, int]) -> None:
    """Of features as strides make them, rounded up."""
    own = tuple(-(-side // part) for side in size)
    with torch.device("meta"):
        made = StepwiseDecoder((16, *own), (3, *size))(torch.empty(2, 16, *own))
    assert made.shape == (2, 3, *size)


def test_flat_features_are_maps_of_one_pixel() -> None:
    assert StepwiseDecoder((20,), (1, 8, 8))(torch.rand(3, 20)).shape == (3, 1, 8, 8)


# Values.


def aligned(n: int, size: int) -> NDArray[np.float64]:
    """The matrix that interpolates n values linearly to `size`, ends on ends."""
    at = np.linspace(0, n - 1, size)
    return np.stack([np.interp(at, np.arange(n), row) for row in np.eye(n)], axis=1)


def resized(h: Tensor, rows: int, columns: int) -> Tensor:
    y, x = (
        torch.from_numpy(aligned(n, size))
        for n, size in zip(h.shape[2:], (rows, columns), strict=True)
    )
    return y @ h @ x.T


def step(h: Tensor, layer: nn.Module) -> Tensor:
    """Convolution, BatchNorm with the batch's statistics, ReLU."""
    first, norm, _ = layer.children()
    z = F.conv2d(h, first.weight, first.bias, padding=first.kernel_size[0] // 2)
    mean, variance = z.mean((0, 2, 3), keepdim=True), z.var((0, 2, 3), keepdim=True, correction=0)
    z = (z - mean) / torch.sqrt(variance + 1e-5)
    return (z * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0)


@pytest.mark.parametrize(
    ("feature", "channels", "sizes"),
    [
        ((140, 3, 2), [128, 32, 12], [(6, 4), (12, 8), (24, 16)]),
        ((200, 2, 3), [192, 64, 32, 12], [(3, 5), (6, 9), (12, 18), (23, 35)]),
    ],
)
def test_reconstructions_by_hand(
    feature: tuple[int, ...], channels: list[int], sizes: list[tuple[int, int]]
) -> None:
    """At an eighth, and at a sixteenth of a size that no stride divides."""
    torch.manual_seed(0)
    decoder = StepwiseDecoder(feature, (3, *sizes[-1])).double().train()
    with torch.no_grad():
        for p in decoder.parameters():
            p.add_(0.2 * torch.randn_like(p))
    x = h = torch.randn(4, *feature, dtype=torch.float64)
    assert len(decoder.layers) == len(channels)
    kernels = [1] * (len(channels) - 2) + [3, 3]
    for layer, width, kernel, size in zip(decoder.layers, channels, kernels, sizes, strict=True):
        assert layer[0].weight.shape[0] == width  # type: ignore[index, union-attr]
        assert layer[0].kernel_size == (kernel, kernel)  # type: ignore[index, union-attr]
        h = resized(step(h, layer), *size)
    expected = F.conv2d(h, decoder.out.weight, decoder.out.bias, padding=1)
    torch.testing.assert_close(decoder(x), expected, rtol=1e-10, atol=1e-10)


def test_corners_are_aligned() -> None:
    """A ramp of 2 x 2 stays a ramp: with corners not aligned its ends would be flat."""
    decoder = StepwiseDecoder((1, 2, 2), (1, 8, 8)).eval()
    with torch.no_grad():
        for layer in decoder.layers:
            first, norm = layer[0], layer[1]  # type: ignore[index]
            first.weight.zero_()
            first.bias.zero_()
            centre = first.kernel_size[0] // 2
            first.weight[0, 0, centre, centre] = 1.0
            norm.eps = 0.0
        decoder.out.weight.zero_()
        decoder.out.bias.zero_()
        decoder.out.weight[0, 0, 1, 1] = 1.0
        made = decoder(torch.tensor([[[[0.0, 7.0], [0.0, 7.0]]]]))
    ramp = torch.arange(8.0)
    between = torch.from_numpy(aligned(4, 8) @ aligned(2, 4)).float() @ torch.tensor([0.0, 7.0])
    torch.testing.assert_close(between, ramp)
    torch.testing.assert_close(made[0, 0], ramp.expand(8, 8))


def test_the_label_head_by_hand() -> None:
    torch.manual_seed(0)
    head = label_head("imagenet", (24, 9, 7), 5, 64).double().train()
    x = h = torch.randn(3, 24, 9, 7, dtype=torch.float64)
    layers = [part for part in head if isinstance(part, nn.Sequential)]
    widths, strides = (6, 8, 16, 64), (1, 2, 2, 1)
    for layer, width, stride in zip(layers, widths, strides, strict=True):
        first, _, _ = layer
        assert first.bias is None
        assert first.weight.shape[0] == width
        kernel = 3 if stride == 2 else 1
        z = F.conv2d(h, first.weight, None, stride, kernel // 2)
        mean, var = z.mean((0, 2, 3), keepdim=True), z.var((0, 2, 3), keepdim=True, correction=0)
        h = ((z - mean) / torch.sqrt(var + 1e-5)).clamp(min=0)
    last = head[-1]
    expected = h.mean((2, 3)) @ last.weight.T + last.bias
    torch.testing.assert_close(head(x), expected, rtol=1e-10, atol=1e-12)


def test_the_losses_by_hand() -> None:
    """lambda1 BCE(sigmoid of the decoder, image) + lambda2 CE(head), then the net's own loss."""
    torch.manual_seed(0)
    net = models.build("imagenet-resnet18", (3, 32, 32), 5)
    options = {
        **{"mode": "softmax", "head": "imagenet", "decoder": "stepwise"},
        **{"lambda1": (5.0, 5.0), "lambda2": (0.75, 0.75)},
    }
    cuts = [net.names.index("2.0") + 1]
    method = methods.build("infopro", cut(net, cuts, Classification(5)), options).double().train()
    image = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    batch = Batch((image - 0.45) / 0.22, torch.arange(4), image, torch.arange(4))
    first, last = (loss.value for loss in method.losses(batch))
    objective = method.objectives[0]
    assert isinstance(objective.decoder, StepwiseDecoder)
    h = method.trunk[0](batch.x)
    assert h.shape[1:] == (128, 4, 4)
    p = objective.decoder(h).sigmoid()
    bce = -(image * p.log() + (1 - image) * (1 - p).log()).mean()
    label = F.cross_entropy(objective.head(h), batch.y)
    torch.testing.assert_close(first, 5 * bce + 0.75 * label, rtol=1e-10, atol=0)
    own = F.cross_entropy(method.trunk[1](h), batch.y)
    torch.testing.assert_close(last, own, rtol=1e-10, atol=0)


def test_there_is_no_factored_way() -> None:
    net = models.build("resnet8", (3, 8, 8), 4)
    trunk = cut(net, [2], Classification(4))
    with pytest.raises(InvalidInput, match="resize factored is of decoder direct, got stepwise"):
        methods.build("infopro", trunk, {"decoder": "stepwise", "resize": "factored"})
