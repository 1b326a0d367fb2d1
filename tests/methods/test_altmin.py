"""Online alternating minimisation against a second writing in numpy, closed forms, and
backpropagation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from modulewise import methods
from modulewise.method import Batch
from modulewise.methods.altmin import Altmin
from modulewise.parts import codes
from small_nets import (
    backpropagated,
    batch,
    gradients,
    linear_trunk,
    trunk,
    vectors,
    weights,
)


def made(network: str = "mlp3x8-tanh", k: int = 3, **options: object) -> Altmin:
    """Of an MLP or a ResNet, in float64."""
    method = methods.build("altmin", trunk(network, k), options).double().train()
    assert isinstance(method, Altmin)
    return method


def linear(**options: object) -> Altmin:
    """Linear modules, squared distances."""
    return Altmin(linear_trunk(), **options).double()  # type: ignore[arg-type]


def moved(method: Altmin, given: Batch) -> list[Tensor]:
    """What enters each module after the codes' steps."""
    return method.settled(given, codes.forward(method.trunk, given.x))[0]


@pytest.mark.parametrize("l1", [0.0, 0.4])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("steps", [1, 5])
def test_a_step_of_three_linear_modules_in_numpy(steps: int, momentum: float, l1: float) -> None:
    lr, mu = 2.0, 0.6
    method = linear(code_steps=steps, lr_codes=lr, code_momentum=momentum, mu=mu, l1=l1)
    given = vectors()
    found = gradients(method, given)

    (w0, b0), (w1, b1), (w2, b2) = weights(method)
    x, y = given.x.numpy(), given.y.numpy()
    h0 = x @ w0.T + b0
    h1 = h0 @ w1.T + b1
    c0, c1 = h0, h1
    velocity = np.zeros_like(c1)
    for _ in range(steps):
        g = (c1 @ w2.T + b2 - y) @ w2 / mu / len(x)
        g = g + 2 * (c1 - h1) / c1.size + l1 / mu * np.sign(c1) / c1.size
        velocity = momentum * velocity + g
        c1 = c1 - lr * (g + momentum * velocity)
    velocity = np.zeros_like(c0)
    for _ in range(steps):
        g = 2 * (c0 @ w1.T + b1 - c1) @ w1 / c1.size
        g = g + 2 * (c0 - h0) / c0.size + l1 / mu * np.sign(c0) / c0.size
        velocity = momentum * velocity + g
        c0 = c0 - lr * (g + momentum * velocity)
    errors = [
        2 * (h0 - c0) / c0.size,
        2 * (c0 @ w1.T + b1 - c1) / c1.size,
        (c1 @ w2.T + b2 - y) / len(x),
    ]
    for g, e, h in zip(found, errors, [x, c0, c1], strict=True):
        expected = np.concatenate([(e.T @ h).ravel(), e.sum(0)])
        np.testing.assert_allclose(g.numpy(), expected, rtol=1e-10, atol=1e-13)


def test_many_steps_end_at_the_normal_equations() -> None:
    """Quadratic pieces, from the top: (W^T W / mu + 2 / D) c = W^T (y - b) / mu + 2 h / D, and with
    the code above as the target one module below."""
    mu = 0.5
    method, given = linear(code_steps=300, lr_codes=3.0, mu=mu), vectors()
    _, c0, c1 = (t.numpy() for t in moved(method, given))
    (w0, b0), (w1, b1), (w2, b2) = weights(method)
    x, y, size = given.x.numpy(), given.y.numpy(), len(given.x)
    h0 = x @ w0.T + b0
    h1 = h0 @ w1.T + b1
    d0, d1 = len(b0), len(b1)
    best1 = np.linalg.solve(
        w2.T @ w2 / mu + 2 / d1 * np.eye(d1), ((y - b2) @ w2 / mu + 2 / d1 * h1).T
    ).T
    best0 = np.linalg.solve(
        2 / d1 * w1.T @ w1 + 2 / d0 * np.eye(d0), (2 / d1 * (best1 - b1) @ w1 + 2 / d0 * h0).T
    ).T
    assert c0.shape == (size, d0)
    np.testing.assert_allclose(c1, best1, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(c0, best0, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("network", ["mlp3x8-tanh", "mlp3x8"])
def test_one_small_step_has_the_direction_of_backpropagation(network: str) -> None:
    """Gradients of module k, over the factors of the cuts behind it, are backpropagation's to first
    order in the step: halving it halves the error, and 2 G(s / 2) - G(s) leaves a quarter."""

    def errors(s: float) -> list[Tensor]:
        method = made(network, code_steps=1, code_momentum=0.0, lr_codes=s, mu=1.0)
        given = batch()
        sizes = [t.numel() for t in codes.forward(method.trunk, given.x)[1:]]
        found, expected = gradients(method, given), backpropagated(method, given)
        factor = [1.0] * method.k
        for k in reversed(range(method.k - 1)):
            above = factor[k + 1] if k < method.k - 2 else 1 / method.mu
            factor[k] = above * s * 2 / sizes[k]
        return [a / f - b for a, f, b in zip(found, factor, expected, strict=True)]

    s = 1e-2
    one, two, four = errors(s), errors(s / 2), errors(s / 4)
    assert float(one[0].norm()) < 1e-7, "the first module's input stays"
    for a, b, c in list(zip(one, two, four, strict=True))[1:]:
        assert float(a.norm() / b.norm()) == pytest.approx(2, rel=0.05)
        assert float((2 * b - a).norm() / (2 * c - b).norm()) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("network", ["mlp3x8-tanh", "mlp3x8", "resnet8"])
def test_the_objective_of_a_code_never_rises(network: str) -> None:
    """Of the top code: its own loss over mu, and its distance."""
    found = []
    for steps in (1, 2, 3, 5, 9):
        method = made(network, code_steps=steps, code_momentum=0.0, lr_codes=0.005)
        start, after = codes.forward(method.trunk, batch().x), moved(method, batch())
        with torch.no_grad():
            values = [
                float(method.task.loss(method.trunk[-1](t[-1]), batch().y)) / method.mu
                + float((t[-1] - start[-1]).square().mean())
                for t in (start, after)
            ]
        found.append(values[1])
    assert all(b < a for a, b in itertools.pairwise([values[0], *found]))


def test_at_the_forward_pass_all_misfits_are_zero() -> None:
    method = made("mlp3x8")
    entering = codes.forward(method.trunk, batch().x)
    for k in range(method.k - 1):
        assert float(method.misfit(k, entering[k], entering[1:], batch()).detach()) == 0.0


def test_steps_of_codes_leave_the_net_as_it_is() -> None:
    """No gradient reaches a parameter, and BatchNorm does not count their passes."""
    method = made("resnet8")
    entering = codes.forward(method.trunk, batch().x)
    before = {name: t.clone() for name, t in method.state_dict().items()}
    method.settled(batch(), entering)
    assert all(p.grad is None for p in method.parameters())
    assert all(torch.equal(t, before[name]) for name, t in method.state_dict().items())


def test_sparse_codes() -> None:
    """The larger l1, the smaller the codes."""
    sums = [float(moved(made(l1=l1), batch())[-1].abs().sum()) for l1 in (0.0, 0.01, 0.05)]
    assert sums[0] > sums[1] > sums[2]


@pytest.mark.parametrize(("k", "steps"), [(2, 1), (3, 4)])
def test_passes_are_as_declared(k: int, steps: int) -> None:
    method = made("mlp3x8", k, code_steps=steps)
    runs = [0] * k

    def count(j: int) -> None:
        runs[j] += 1

    for j, module in enumerate(method.trunk):
        module.register_forward_hook(lambda *_, j=j: count(j))
    gradients(method, batch())
    assert max(runs) == method.passes
    assert made(k=1).passes == 1
