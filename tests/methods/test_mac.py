"""Auxiliary coordinates against a second writing in numpy, closed forms, and backpropagation."""

from __future__ import annotations

import copy
import itertools
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from modulewise import methods
from modulewise.method import Batch
from modulewise.methods.mac import Mac
from modulewise.parts import codes
from small_nets import (
    SIZES,
    backpropagated,
    batch,
    gradients,
    linear_trunk,
    trunk,
    vectors,
    weights,
)


def made(k: int = 3, network: str = "mlp3x8-tanh", **options: object) -> Mac:
    """Of an MLP or a ResNet, in float64."""
    method = methods.build("mac", trunk(network, k), options).double().train()
    assert isinstance(method, Mac)
    return method


def linear(sizes: tuple[int, ...] = SIZES, **options: object) -> Mac:
    """Linear modules, squared distances."""
    return Mac(linear_trunk(sizes), **options).double()  # type: ignore[arg-type]


@pytest.mark.parametrize("multipliers", [False, True])
@pytest.mark.parametrize("sweeps", [1, 2, 4])
def test_a_step_of_three_linear_modules_in_numpy(sweeps: int, multipliers: bool) -> None:
    rho, step = 0.7, 0.3
    method = linear(rho=rho, step=step, sweeps=sweeps, multipliers=multipliers)
    given = vectors()
    found = gradients(method, given)

    (w0, b0), (w1, b1), (w2, b2) = weights(method)
    x, y = given.x.numpy(), given.y.numpy()
    f0 = x @ w0.T + b0
    a0 = f0
    a1 = a0 @ w1.T + b1
    u0, u1 = np.zeros_like(a0), np.zeros_like(a1)
    for sweep in range(sweeps):
        if sweep > 0 and multipliers:
            u0, u1 = u0 + a0 - f0, u1 + a1 - (a0 @ w1.T + b1)
        f1 = a0 @ w1.T + b1
        a1 = a1 - step / rho * (rho * (a1 - f1 + u1) + (a1 @ w2.T + b2 - y) @ w2)
        a0 = a0 - step / rho * (rho * (a0 - f0 + u0) - rho * (a1 - f1 + u1) @ w1)
    errors = [-rho * (a0 - f0 + u0), -rho * (a1 - (a0 @ w1.T + b1) + u1), a1 @ w2.T + b2 - y]
    for g, e, h in zip(found, errors, [x, a0, a1], strict=True):
        expected = np.concatenate([(e.T @ h / len(x)).ravel(), e.mean(0)])
        np.testing.assert_allclose(g.numpy(), expected, rtol=1e-11, atol=1e-13)


def objective(method: Mac, a: list[Tensor], given: Batch) -> float:
    """E of all images, without multipliers."""
    total = 0.0
    with torch.no_grad():
        for k, module in enumerate(method.trunk):
            h = module(a[k])
            if k == method.k - 1:
                total += len(h) * float(method.task.loss(h, given.y))
            else:
                total += method.rho / 2 * float((a[k + 1] - h).square().sum())
    return total


def coordinates(method: Mac, given: Batch) -> list[Tensor]:
    """After all sweeps."""
    return method.settled(given, codes.forward(method.trunk, given.x))[0]


def test_many_sweeps_end_at_the_normal_equations() -> None:
    """Quadratic pieces: coordinates of an image minimise |r|^2, r linear in them."""
    rho = 0.5
    method, given = linear(rho=rho, step=0.6, sweeps=100), vectors()
    a = coordinates(method, given)
    (w0, b0), (w1, b1), (w2, b2) = weights(method)
    m, n, o = len(b0), len(b1), len(b2)
    root = rho**0.5
    matrix = np.zeros((m + n + o, m + n))
    matrix[:m, :m], matrix[m : m + n, m:] = root * np.eye(m), root * np.eye(n)
    matrix[m : m + n, :m], matrix[m + n :, m:] = -root * w1, w2
    x, y = given.x.numpy(), given.y.numpy()
    constants = np.concatenate(
        [root * (x @ w0.T + b0), np.broadcast_to(root * b1, (len(x), n)), y - b2], 1
    )
    best = np.linalg.solve(matrix.T @ matrix, matrix.T @ constants.T).T
    np.testing.assert_allclose(torch.cat(a[1:], 1).numpy(), best, rtol=1e-9, atol=1e-10)


def test_with_multipliers_sweeps_end_where_no_penalty_is_left() -> None:
    """The constrained problem has one point: the forward pass. There the multipliers are what
    backpropagation gives, so that the gradients are its own."""
    method, given = linear(rho=1.0, step=0.8, sweeps=100, multipliers=True), vectors()
    a, expected = coordinates(method, given), codes.forward(method.trunk, given.x)
    for mine, its in zip(a, expected, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-8, atol=1e-9)
    for mine, its in zip(gradients(method, given), backpropagated(method, given), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("network", ["mlp3x8-tanh", "mlp3x8", "resnet8"])
def test_the_objective_never_rises_over_sweeps(network: str) -> None:
    found = []
    for sweeps in (1, 2, 3, 5, 9):
        method = made(network=network, rho=0.5, step=0.02, sweeps=sweeps)
        found.append(objective(method, coordinates(method, batch()), batch()))
    start = objective(method, codes.forward(method.trunk, batch().x), batch())
    assert all(after < before for before, after in itertools.pairwise([start, *found]))


def test_at_the_forward_pass_all_penalties_are_zero() -> None:
    method = made(network="mlp3x8")
    a = codes.forward(method.trunk, batch().x)
    for k in range(method.k - 1):
        assert float(method.misfit(k, a[k], a[1:], batch()).detach()) == 0.0
        assert float(method.misfit(k, a[k], [t + 0.1 for t in a[1:]], batch()).detach()) > 0.0


@pytest.mark.parametrize("network", ["mlp3x8-tanh", "mlp3x8", "resnet8"])
def test_one_sweep_moves_coordinates_along_the_true_gradient(network: str) -> None:
    """By step^(K-1-k) / rho of it, an image's, whatever the size of the step; so that the gradients
    of the first module, whose input stays, are step^(K-1) times backpropagation's."""
    rho, step, given = 0.3, 0.9, batch()
    method = made(network=network, rho=rho, step=step, sweeps=1)
    h, features = given.x, []
    for module in copy.deepcopy(method).trunk:
        h = module(h)
        features.append(h)
    loss = len(h) * method.task.loss(features.pop(), given.y)
    for k, g in enumerate(torch.autograd.grad(loss, features)):
        expected = features[k].detach() - step ** (method.k - 1 - k) / rho * g
        torch.testing.assert_close(coordinates(method, given)[k + 1], expected)
    first = gradients(method, given)[0] / step ** (method.k - 1)
    torch.testing.assert_close(first, backpropagated(method, given)[0])


@pytest.mark.parametrize("network", ["mlp3x8-tanh", "mlp3x8"])
def test_one_sweep_gives_backpropagation_to_first_order(network: str) -> None:
    """Gradients of module k over step^(K-1-k) are backpropagation's plus s e_1 + s^2 e_2 + ...:
    halving s halves the error, and 2 G(s / 2) - G(s), free of e_1, leaves a quarter."""

    def errors(s: float) -> list[Tensor]:
        method = made(network=network, sweeps=1, step=s)
        found = gradients(method, batch())
        scaled = [g / method.step ** (method.k - 1 - k) for k, g in enumerate(found)]
        return [a - b for a, b in zip(scaled, backpropagated(method, batch()), strict=True)]

    s = 1e-3
    one, two, four = errors(s), errors(s / 2), errors(s / 4)
    for a, b, c in list(zip(one, two, four, strict=True))[1:]:  # the first is exact
        assert float(a.norm() / b.norm()) == pytest.approx(2, rel=0.05)
        assert float((2 * b - a).norm() / (2 * c - b).norm()) == pytest.approx(4, rel=0.1)


def test_multipliers_of_a_single_sweep_are_zero() -> None:
    mine, its = (gradients(made(sweeps=1, multipliers=flag), batch()) for flag in (True, False))
    assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))


def test_multipliers_of_two_sweeps_are_not() -> None:
    mine, its = (gradients(made(sweeps=2, multipliers=flag), batch()) for flag in (True, False))
    assert not torch.allclose(mine[0], its[0])


def test_sweeps_leave_the_net_as_it_is() -> None:
    """No gradient reaches a parameter, and BatchNorm does not count their passes."""
    method = made(network="resnet8")
    entering = codes.forward(method.trunk, batch().x)
    before = {name: t.clone() for name, t in method.state_dict().items()}
    method.settled(batch(), entering)
    assert all(p.grad is None for p in method.parameters())
    assert all(torch.equal(t, before[name]) for name, t in method.state_dict().items())


def test_under_autocast_gradients_are_those_of_fp32() -> None:
    """What modules learn from are small differences: of numbers rounded to bf16 they are noise."""
    method = made(network="resnet8").float()
    x = batch().x.float()
    given, found = Batch(x, batch().y, x, batch().index), []
    for context in (nullcontext(), torch.autocast("cpu", torch.bfloat16)):
        method.zero_grad()
        with context:
            losses = list(method.losses(given))
        for loss in losses:
            loss.value.backward()
        found.append([p.grad.clone() for p in method.trunk[1].parameters() if p.grad is not None])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_coordinates_of_an_image_do_not_depend_on_its_batch() -> None:
    """Without BatchNorm: steps are those of single images."""
    method = made()
    given = batch(6)
    whole = coordinates(method, given)
    half = Batch(given.x[:3], given.y[:3], given.image[:3], given.index[:3])
    part = coordinates(method, half)
    for a, b in zip(whole, part, strict=True):
        torch.testing.assert_close(a[:3], b)


@pytest.mark.parametrize(("k", "sweeps"), [(2, 1), (2, 3), (3, 1), (3, 4)])
def test_passes_are_as_declared(k: int, sweeps: int) -> None:
    method = made(k, "mlp3x8", sweeps=sweeps)
    runs = [0] * k

    def count(j: int) -> None:
        runs[j] += 1

    for j, module in enumerate(method.trunk):
        module.register_forward_hook(lambda *_, j=j: count(j))
    gradients(method, batch())
    assert max(runs) == method.passes
    assert made(1).passes == 1
