"""Networks that are cut before their nonlinearities: sizes by closed forms, the function against
one written out, and where the cuts stand."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modulewise import models
from modulewise.errors import InvalidInput


def parameters(name: str, image: tuple[int, ...], outputs: int = 10) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in models.build(name, image, outputs).parameters())


@pytest.mark.parametrize(
    ("name", "image", "outputs", "expected"),
    [
        ("resnet18-pre", (3, 32, 32), 10, 11_173_962),  # the figure commonly given
        ("resnet18-pre", (3, 32, 32), 100, 11_173_962 + 90 * 513),
        ("resnet18-pre", (1, 28, 28), 10, 11_173_962 - 2 * 9 * 64),
        ("lenet5", (1, 28, 28), 10, 61_706),  # the figure commonly given
        ("lenet5", (1, 32, 32), 10, 61_706),
        ("lenet5-tanh", (1, 8, 8), 10, 61_706),
        ("lenet5", (3, 32, 32), 10, 61_706 + 2 * 25 * 6),
        ("mlp7x240-tanh", (1, 28, 28), 10, 784 * 240 + 6 * 240 * 240 + 7 * 240 + 240 * 10 + 10),
    ],
)
def test_known_numbers_of_parameters(
    name: str, image: tuple[int, ...], outputs: int, expected: int
) -> None:
    assert parameters(name, image, outputs) == expected


@pytest.mark.parametrize("base", [1, 8, 64])
def test_parameters_of_a_resnet18_in_closed_form(base: int) -> None:
    c = [base * 2**g for g in range(4)]
    convolutions = 27 * base + 4 * 9 * base**2
    norms = 2 * base * 5
    for a, b in pairwise(c):
        convolutions += 9 * a * b + 3 * 9 * b * b + a * b
        norms += 2 * b * 5
    expected = convolutions + norms + 10 * c[-1] + 10
    assert parameters(f"resnet18-pre-w{base}", (3, 32, 32)) == expected


def test_the_resnet_is_the_common_post_activation_one() -> None:
    """Written out in functions with ReLUs at the end of stages, in float64 and train mode."""
    torch.manual_seed(0)
    net = models.build("resnet18-pre-w4", (3, 16, 16), 5).double().train()
    x = torch.randn(6, 3, 16, 16, dtype=torch.float64)

    def norm(h: Tensor, bn: nn.BatchNorm2d) -> Tensor:
        mean, var = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), unbiased=False, keepdim=True)
        return (h - mean) / (var + bn.eps).sqrt()

    conv, bn = net.stages[0]  # type: ignore[misc]
    h = F.relu(norm(F.conv2d(x, conv.weight, padding=1), bn))
    for stage in list(net.stages)[1:-1]:
        stride = stage.conv1.stride
        y = F.relu(norm(F.conv2d(h, stage.conv1.weight, stride=stride, padding=1), stage.bn1))
        y = norm(F.conv2d(y, stage.conv2.weight, padding=1), stage.bn2)
        short = h
        if stride != (1, 1):
            c, b = stage.shortcut  # type: ignore[misc]
            short = norm(F.conv2d(h, c.weight, stride=stride), b)
        h = F.relu(y + short)
    pooled = h.mean((2, 3))
    unit = pooled / pooled.norm(dim=1, keepdim=True)
    torch.testing.assert_close(net(x), net.head(unit), rtol=1e-8, atol=1e-10)


def test_branch_and_join_are_the_block() -> None:
    torch.manual_seed(0)
    net = models.build("resnet18-pre-w4", (3, 16, 16), 5).eval()
    h = net.stages[0](torch.randn(2, 3, 16, 16))
    for stage in list(net.stages)[1:-1]:
        before = h.clone()
        assert torch.equal(stage.join(h, stage.branch(h)), stage(h))
        assert torch.equal(h, before)
        h = stage(h)


@pytest.mark.parametrize("name", ["resnet18-pre-w8", "lenet5", "lenet5-tanh"])
def test_stages_give_pre_activations_of_both_signs(name: str) -> None:
    torch.manual_seed(0)
    net = models.build(name, (3, 32, 32), 10)
    h = torch.randn(8, 3, 32, 32)
    for stage in list(net.stages)[:-1]:
        h = stage(h)
        assert h.min() < 0 < h.max()
    assert net.names[-1] == "phi"
    assert not list(net.stages[-1].parameters())
    v = net.stages[-1](h)
    torch.testing.assert_close(v.norm(dim=1), torch.ones(8))
    assert (v.min() >= 0) == (not name.endswith("tanh"))
    assert isinstance(net.head, nn.Linear)


@pytest.mark.parametrize(("name", "shape"), [("lenet5", F.relu), ("lenet5-tanh", torch.tanh)])
@pytest.mark.parametrize("size", [28, 32])
def test_lenet_written_out(name: str, shape: object, size: int) -> None:
    """Images padded to 32, the nonlinearity before the pooling: with maxima it is the same."""
    torch.manual_seed(0)
    net = models.build(name, (1, size, size), 10).double()
    x = torch.randn(3, 1, size, size, dtype=torch.float64)
    w = list(net.parameters())
    pad = (32 - size) // 2
    h = F.conv2d(F.pad(x, [pad] * 4), w[0], w[1])
    h = F.max_pool2d(shape(h), 2)  # type: ignore[operator]
    h = F.max_pool2d(shape(F.conv2d(h, w[2], w[3])), 2)  # type: ignore[operator]
    assert h.shape == (3, 16, 5, 5)
    h = shape(h.flatten(1) @ w[4].T + w[5])  # type: ignore[operator]
    h = shape(h @ w[6].T + w[7])  # type: ignore[operator]
    h = h / h.norm(dim=1, keepdim=True)
    torch.testing.assert_close(net(x), h @ w[8].T + w[9])


def test_tanh_nets_start_orthogonal_and_have_no_norm() -> None:
    torch.manual_seed(0)
    net = models.build("mlp3x24-tanh", (1, 4, 4), 10)
    linears = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linears] == [
        (16, 24),
        (24, 24),
        (24, 24),
        (24, 10),
    ]
    for m in linears:
        w = m.weight if m.in_features >= m.out_features else m.weight.T
        torch.testing.assert_close(w @ w.T, torch.eye(len(w)), atol=1e-5, rtol=0)
        assert not m.bias.any()
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    h = net.stages[0](torch.randn(5, 1, 4, 4))
    assert h.abs().max() < 1
    assert h.min() < 0


def test_relu_mlps_are_what_they_were() -> None:
    """Names without a nonlinearity keep BatchNorm, ReLU and the library's start."""
    torch.manual_seed(0)
    net = models.build("mlp2x8", (1, 4, 4), 3)
    torch.manual_seed(0)
    first = nn.Linear(16, 8, bias=False)
    assert torch.equal(net.stages[0][1].weight, first.weight)
    assert [type(m) for m in net.stages[0]] == [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU]


@pytest.mark.parametrize("name", ["resnet18-pre-w0", "resnet18-pre-w5000"])
def test_impossible_widths_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="1 to 4096 channels"):
        models.build(name, (3, 32, 32), 10)


@pytest.mark.parametrize("side", [8, 28, 32, 33, 96])
def test_images_of_any_size_pass(side: int) -> None:
    for name in ("resnet18-pre-w4", "lenet5"):
        net = models.build(name, (1, side, side), 7).eval()
        assert net(torch.randn(2, 1, side, side)).shape == (2, 7)
        if name == "resnet18-pre-w4":
            assert net.head.in_features == 32 * math.ceil(math.ceil(side / 8) / 4) ** 2
