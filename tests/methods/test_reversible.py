"""Reversible stages: their inverse gives the gradients of backpropagation, and memory does not grow
with depth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modulewise import methods, models
from modulewise.engine import flops, memory
from modulewise.engine.flops import parameters
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.models.coupling import Coupling
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

TASK = Classification(5)


def made(network: str, method: str) -> Method:
    torch.manual_seed(0)
    return methods.build(method, cut(models.build(network, (3, 16, 16), 5), [], TASK), {}).train()


def step(method: Method, dtype: torch.dtype = torch.float32, images: int = 6) -> None:
    torch.manual_seed(1)
    x, y = torch.rand(images, 3, 16, 16).to(dtype), torch.arange(images) % 5
    for loss in method.losses(Batch(x, y, x, y)):
        loss.value.backward()


def flat(method: Method) -> Tensor:
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


@pytest.mark.parametrize("depth", [14, 38])
def test_gradients_are_those_of_backpropagation(depth: int) -> None:
    mine, its = (made(f"revnet{depth}", name).double() for name in ("reversible", "backprop"))
    step(mine, torch.float64)
    step(its, torch.float64)
    torch.testing.assert_close(flat(mine), flat(its), rtol=1e-10, atol=1e-10)
    for a, b in zip(mine.buffers(), its.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("depth", [38, pytest.param(110, marks=pytest.mark.slow)])
def test_the_inverse_costs_no_more_digits_than_single_precision_itself(depth: int) -> None:
    """Both beside float64; of 110 layers 0.2 % of the gradient are rounding, inverse or not."""
    exact, mine, its = (
        made(f"revnet{depth}", name) for name in ("backprop", "reversible", "backprop")
    )
    step(exact.double(), torch.float64)
    step(mine)
    step(its)
    errors = [((flat(m) - flat(exact)).norm() / flat(exact).norm()).item() for m in (mine, its)]
    assert errors[0] < 2 * errors[1]
    assert errors[0] < (1e-5 if depth == 38 else 1e-2)


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")
def test_bf16_gradients_point_where_those_of_backpropagation_do() -> None:
    """Both differ from single precision by bf16's rounding; the inverse adds no more to it."""
    exact, mine, its = (made("revnet26", name) for name in ("backprop", "reversible", "backprop"))
    step(exact)
    for method in (mine, its):
        torch.manual_seed(1)
        x, y = torch.rand(6, 3, 16, 16), torch.arange(6) % 5
        with torch.autocast("cpu", torch.bfloat16):
            (loss,) = method.losses(Batch(x, y, x, y))
        loss.value.backward()
    errors = [((flat(m) - flat(exact)).norm() / flat(exact).norm()).item() for m in (mine, its)]
    assert errors[0] < 1.2 * errors[1]


def test_a_unit_couples_halves() -> None:
    """y1 = x1 + f(x2), y2 = x2 + g(y1), with f = 2x and g = -3x."""
    double, thrice = torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.Conv2d(1, 1, 1, bias=False)
    torch.nn.init.constant_(double.weight, 2)
    torch.nn.init.constant_(thrice.weight, -3)
    x = torch.tensor([5.0, 7.0]).view(1, 2, 1, 1)
    assert Coupling(double, thrice)(x).flatten().tolist() == [5 + 2 * 7, 7 - 3 * (5 + 2 * 7)]


def growth(network: str, method: str) -> int:
    """Growth of live bytes in the second step on 16 images, gradients of weights aside."""
    trained = made(network, method)
    step(trained, images=16)
    trained.zero_grad()
    with memory.growth() as grown:
        step(trained, images=16)
    return grown.live - 4 * parameters([trained])


MAP = 16 * 32 * 16 * 16 * 4
"""Bytes of one feature map of the first group."""


def test_memory_does_not_grow_with_depth() -> None:
    """Backpropagation keeps, of a unit of the first group, its output and at least six maps of
    halves: of f and of g what leaves two ReLUs and the convolution between."""
    shallow, deep = growth("revnet26", "reversible"), growth("revnet62", "reversible")
    assert abs(deep - shallow) < 0.01 * MAP
    assert growth("revnet62", "backprop") - growth("revnet26", "backprop") > 3 * 3 * MAP


def test_what_is_computed_again_is_the_reversible_stages() -> None:
    """A unit of group s of m: four 3x3 convolutions of half the channels."""
    again = sum(
        units * 4 * 9 * (width // 2) ** 2 * side**2
        for units, width, side in ((3, 32, 16), (2, 64, 8), (2, 112, 4))
    )
    found = flops.flops(made("revnet38", "reversible"), (3, 16, 16), 4)
    assert found.helpers == 2 * again
    assert found.trunk == flops.flops(made("revnet38", "backprop"), (3, 16, 16), 4).trunk


def revnet(depth: int, last: int) -> int:
    """Parameters: stem, three groups of m units on halves, BatchNorm and classifier."""
    count, before, m = 3 * 32 * 9 + 2 * 32, 16, depth // 12
    for half in (16, 32, last // 2):
        for unit in range(m):
            count += 9 * (before * half + 3 * half * half) + 2 * before + 3 * 2 * half
            if unit == 0 and before != half:
                count += 2 * (before * half + 2 * half)
            before = half
    return count + 2 * last + 10 * last + 10


@pytest.mark.parametrize(("depth", "last", "equal"), [(14, 112, 8), (38, 112, 32), (110, 128, 110)])
def test_parameters_are_those_of_a_resnet(depth: int, last: int, equal: int) -> None:
    """The paper: 0.46 M for both ResNet-32 and RevNet-38, 1.73 M for both of depth 110."""
    with torch.device("meta"):
        mine, its = (
            parameters([models.build(name, (3, 32, 32), 10)])
            for name in (f"revnet{depth}", f"resnet{equal}")
        )
    assert mine == revnet(depth, last)
    assert depth == 14 or mine == pytest.approx(its, rel=0.01)


def test_a_network_without_reversible_stages_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"no stages that can be inverted; valid.*revnet38"):
        made("resnet8", "reversible")
