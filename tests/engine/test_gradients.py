"""Angles to backpropagation's gradient where they can be worked out: a linear net of two layers, in
double precision, with gradients written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modulewise.engine.gradients import Against, against_backprop, compare
from modulewise.method import Batch, LocalMethod, Loss, Method
from modulewise.models.network import CutNetwork, Network, cut
from modulewise.tasks.classification import Classification

CLASSES, PIXELS, HIDDEN, IMAGES = 3, 4, 5, 7


def linear(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs, bias=False))


def trunk() -> CutNetwork:
    """Two modules, each linear."""
    torch.manual_seed(0)
    stages = [("one", linear(PIXELS, HIDDEN)), ("two", nn.Identity())]
    head = linear(HIDDEN, CLASSES)
    return cut(Network(stages, head, (1, 2, 2)), [1], Classification(CLASSES))


def batch() -> Batch:
    torch.manual_seed(1)
    x = torch.randn(IMAGES, 1, 2, 2, dtype=torch.float64)
    y = torch.arange(IMAGES) % CLASSES
    return Batch(x, y, x, y)


class Local(LocalMethod):
    """The first module learns from a classifier of its own."""

    def __init__(self, network: CutNetwork) -> None:
        super().__init__(network)
        self.heads.append(linear(HIDDEN, CLASSES))


class Carried(Method):
    """The first module learns from the error, carried back by the last layer's weights times a
    factor, or by other weights."""

    feedback = "fixed"

    def __init__(self, network: CutNetwork, factor: float = 1.0) -> None:
        super().__init__(network)
        self.factor = factor

    def losses(self, batch: Batch) -> Iterator[Loss]:
        first = self.trunk[0](batch.x)
        scores = self.trunk[1](first.detach())
        scores.retain_grad()
        yield Loss(self.task.loss(scores, batch.y), self.of_module(1), "module_1")
        carried = self.factor * scores.grad @ self.trunk[1][1][1].weight.detach()
        yield Loss((first * carried).sum(), self.of_module(0), "module_0", surrogate=True)


class Idle(Method):
    """The first module learns nothing."""

    def losses(self, batch: Batch) -> Iterator[Loss]:
        scores = self.trunk[1](self.trunk[0](batch.x).detach())
        yield Loss(self.task.loss(scores, batch.y), self.of_module(1), "module_1")


def found(method: Method) -> list[Against]:
    return against_backprop(method.double(), batch(), nullcontext)


def numbers(method: Method) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels as rows, and the weights of both layers."""
    weights = [p.detach().numpy() for p in method.trunk.parameters()]
    b = batch()
    return b.x.flatten(1).numpy(), np.eye(CLASSES)[b.y.numpy()], weights[0], weights[1]


def error(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradient of the mean cross-entropy with respect to the scores."""
    p = np.exp(scores)
    return (p / p.sum(1, keepdims=True) - y) / len(y)


def test_a_local_classifier_against_the_chain_rule() -> None:
    method = Local(trunk()).double()
    x, y, first, last = numbers(method)
    own = method.heads[0][1].weight.detach().numpy()
    h = x @ first.T
    mine = (error(h @ own.T, y) @ own).T @ x
    whole = (error(h @ last.T, y) @ last).T @ x
    cosine = (mine * whole).sum() / np.linalg.norm(mine) / np.linalg.norm(whole)
    one, two = found(method)
    assert one.angle == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-9)
    assert one.ratio == pytest.approx(np.linalg.norm(mine) / np.linalg.norm(whole), rel=1e-12)
    assert two == (0.0, 1.0), "the last module's loss is the net's own"


@pytest.mark.parametrize(("factor", "angle"), [(1.0, 0.0), (0.25, 0.0), (-3.0, 180.0)])
def test_the_right_feedback_gives_the_right_direction(factor: float, angle: float) -> None:
    one, two = found(Carried(trunk(), factor))
    assert one.angle == pytest.approx(angle, abs=1e-6)
    assert one.ratio == pytest.approx(abs(factor), rel=1e-12)
    assert two == (0.0, 1.0)


def test_a_module_without_gradient_has_no_angle() -> None:
    assert found(Idle(trunk())) == [(None, None), (0.0, 1.0)]
    assert compare([], []) == (None, None)
    broken = [torch.tensor([float("nan"), 1.0])]
    assert compare(broken, [torch.ones(2)]) == (None, None)


def test_a_net_that_is_told_nothing_by_its_scores_has_no_angle() -> None:
    class Constant(Local):
        def predict(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x), CLASSES, dtype=x.dtype)

    assert found(Constant(trunk())) == [(None, None)] * 2


def test_random_directions_are_almost_orthogonal() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = (list(torch.randn(4, 50_000, generator=g)) for _ in range(2))
    assert compare(a, b).angle == pytest.approx(90, abs=0.5)
    assert compare(a, a) == (0.0, 1.0)
    assert compare(a, [-2 * t for t in a]).angle == pytest.approx(180, abs=1e-6)


def test_small_angles_keep_their_digits() -> None:
    """The cosine of such an angle is one in double precision."""
    turned = [torch.tensor([1.0, 1e-9], dtype=torch.float64)]
    made = compare(turned, [torch.tensor([1.0, 0.0], dtype=torch.float64)])
    assert made.angle == pytest.approx(np.degrees(1e-9), rel=1e-6)
