"""Direct feedback alignment: gradients by hand, and backpropagation's where B is what is above."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modulewise import methods, models
from modulewise.method import Batch, Method
from modulewise.models import partition
from modulewise.models.network import CutNetwork, Network, cut
from modulewise.tasks.classification import Classification

CLASSES = 5
TASK = Classification(CLASSES)


def trunk(network: str, k: int) -> CutNetwork:
    net = models.build(network, (3, 8, 8), CLASSES)
    return cut(net, partition.even(len(net.stages), k), TASK)


def batch() -> Batch:
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.arange(6) % CLASSES, x, torch.arange(6))


def stepped(method: Method) -> Method:
    """The method after the backward passes of a step."""
    for loss in method.losses(batch()):
        loss.value.backward()
    return method


def gradients(part: nn.Module) -> list[Tensor]:
    return [p.grad for p in part.parameters()]


def test_gradients_by_hand() -> None:
    """Of three modules: each from the error of the mean cross-entropy, through its own matrix."""
    torch.manual_seed(0)
    method = methods.build("dfa", trunk("resnet8", 3), {}).double().train()
    before = copy.deepcopy(method)
    stepped(method)
    h, features = batch().x, []
    for module in before.trunk:
        h = module(h.detach())
        features.append(h)
    e = (h.softmax(1) - F.one_hot(batch().y, CLASSES)).detach() / len(h)
    carried = [
        (e @ p.matrix).view_as(f) for p, f in zip(before.projections, features, strict=False)
    ]
    for k, error in enumerate([*carried, e]):
        own = list(before.trunk[k].parameters())
        expected = torch.autograd.grad(features[k], own, error)
        assert any(g.abs().max() > 0 for g in expected)
        for found, g in zip(gradients(method.trunk[k]), expected, strict=True):
            torch.testing.assert_close(found, g, rtol=1e-10, atol=1e-14)


def test_with_one_linear_layer_above_it_is_backpropagation() -> None:
    """Two modules, the second one linear, and B its weight."""
    torch.manual_seed(0)
    stages = [
        ("1", nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.Tanh())),
        ("2", nn.Identity()),
    ]
    net = Network(stages, nn.Linear(7, CLASSES), (3, 8, 8))
    mine = methods.build("dfa", cut(copy.deepcopy(net), [1], TASK), {}).double()
    its = methods.build("backprop", cut(net, [], TASK), {}).double()
    mine.projections[0].matrix.copy_(net.head.weight.detach())
    for a, b in zip(gradients(stepped(mine)), gradients(stepped(its)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15)


def test_matrices_have_a_row_a_class_and_are_drawn_as_said() -> None:
    """Uniform on [-1, 1] / sqrt(n): a variance of 1 / 3n."""
    method = methods.build("dfa", trunk("resnet8", 3), {})
    sizes = [16 * 8 * 8, 32 * 4 * 4]
    for projection, n in zip(method.projections, sizes, strict=True):
        b = projection.matrix
        assert b.shape == (CLASSES, n)
        assert float(b.abs().max()) <= n**-0.5
        assert abs(float(b.square().mean()) * 3 * n - 1) < 4 * (0.8 / (CLASSES * n)) ** 0.5
