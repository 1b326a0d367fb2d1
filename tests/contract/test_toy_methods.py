"""The toys do what their equations say: gradients of one step, each written by hand a second time,
for three modules in double precision."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cases import CLASSES, Case, Row, a_batch
from modulewise.method import Batch, Method


def batch() -> Batch:
    b = a_batch()
    return Batch(b.x.double(), b.y, b.image.double(), b.index, b.view)


def made(name: str) -> tuple[Method, Method, list[Tensor]]:
    """A method after three steps and a fourth one's gradients; its copy from before that step; and
    the features that the copy's modules give, each without the graph of the one before."""
    method = Row(Case(name), "mlp3x32").build().double().train()
    optimizer = torch.optim.SGD(method.parameters(), 0.05)
    for step in range(4):
        before = copy.deepcopy(method)
        method.zero_grad()
        torch.manual_seed(step)
        for loss in method.losses(batch()):
            loss.value.backward()
        if step < 3:
            optimizer.step()
    features = [batch().x]
    for module in before.trunk:
        features.append(module(features[-1].detach().requires_grad_()))
    return method, before, features[1:]


def error(scores: Tensor) -> Tensor:
    """Of the mean cross-entropy's gradient with respect to the scores."""
    return (scores.softmax(1) - F.one_hot(batch().y, CLASSES)).detach() / len(scores)


def check(part: nn.Module, output: Tensor, gradient: Tensor, found: nn.Module) -> None:
    """`found` has the gradients of the parameters of `part` when `output` gets this one."""
    expected = torch.autograd.grad(output, list(part.parameters()), gradient, retain_graph=True)
    for e, p in zip(expected, found.parameters(), strict=True):
        torch.testing.assert_close(p.grad, e)


def test_synthetic_gradients() -> None:
    method, before, features = made("toy_dni")
    images = len(features[0])
    predicted = [
        s(h.detach()).flatten(1) for s, h in zip(before.synthesisers, features, strict=False)
    ]
    carried = [p.detach() / images for p in predicted] + [error(features[2])]
    assert all(c.abs().max() > 0 for c in carried)
    for k in range(3):
        check(before.trunk[k], features[k], carried[k], method.trunk[k])
    for k in range(2):
        x = features[k].detach().requires_grad_()
        (true,) = torch.autograd.grad(copy.deepcopy(before.trunk[k + 1])(x), x, carried[k + 1])
        off = 2 * (predicted[k].detach() - images * true) / true.numel()
        check(before.synthesisers[k], predicted[k], off, method.synthesisers[k])
