"""Feedback alignment and sign-symmetry: backpropagation where B is W, by hand where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modulewise import methods, models
from modulewise.engine import flops
from modulewise.method import Batch, Method
from modulewise.methods.feedback_alignment import Random
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

CLASSES = 5
TASK = Classification(CLASSES)
NETWORKS = [
    "resnet8",
    "mlp3x32",
    "densenet10-3",
    "lenet5",
    "vgg8b-w4",
    "revnet14",
    "resnet18-pre-w4",
    "cnn3x8-d2",
]


def made(network: str, method: str = "feedback_alignment", **options: Any) -> Method:
    torch.manual_seed(0)
    trunk = cut(models.build(network, (3, 16, 16), CLASSES), [], TASK)
    return methods.build(method, trunk, options).double().train()


def step(method: Method) -> Tensor:
    """The loss of a step, whose gradients are left."""
    torch.manual_seed(1)
    x = torch.rand(6, 3, 16, 16, dtype=torch.float64)
    y = torch.arange(6) % CLASSES
    (loss,) = method.losses(Batch(x, y, x, y))
    loss.value.backward()
    return loss.value


def layers(method: Method) -> list[nn.Module]:
    """Those with a weight that errors pass, in the order of the feedback weights."""
    return [m for m in method.trunk.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize("network", NETWORKS)
def test_where_b_is_the_weight_it_is_backpropagation(network: str) -> None:
    mine, its = made(network), made(network, "backprop")
    for carrier, layer in zip(mine.feedback_weights[0], layers(mine), strict=True):
        carrier.matrix.copy_(layer.weight.detach())
    assert torch.equal(step(mine), step(its))
    for a, b in zip(mine.parameters(), its.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("network", ["resnet8", "mlp3x32"])
@pytest.mark.parametrize("weights", ["random", "sign"])
def test_else_the_forward_pass_is_backpropagations_and_the_gradients_are_not(
    network: str, weights: str
) -> None:
    """Those of the last layer are: no weights stand between it and the loss."""
    mine, its = made(network, weights=weights), made(network, "backprop")
    assert torch.equal(step(mine), step(its))
    *before, weight, bias = zip(mine.parameters(), its.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in (weight, bias))
    assert not any(torch.equal(a.grad, b.grad) for a, b in before if a.dim() > 1)


@pytest.mark.parametrize("network", ["resnet8", "mlp3x32"])
def test_weights_of_one_size_carry_as_their_signs_do(network: str) -> None:
    both = [made(network, weights="sign"), made(network, "backprop")]
    for method in both:
        for carrier, layer in zip(both[0].feedback_weights[0], layers(method), strict=True):
            layer.weight.data = carrier.size * layer.weight.sign()
    for a, b in zip(*([step(m), *m.parameters()] for m in both), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=0)
    for a, b in zip(*(m.parameters() for m in both), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("weights", ["random", "sign"])
def test_the_gradients_of_a_perceptron_by_hand(weights: str) -> None:
    """In numpy: three layers, tanh, cross-entropy; errors go through B alone."""
    method = made("mlp2x8-tanh", weights=weights)
    step(method)
    torch.manual_seed(1)
    h = [torch.rand(6, 3, 16, 16, dtype=torch.float64).flatten(1).numpy()]
    ws = [layer.weight.detach().numpy() for layer in layers(method)]
    for layer, w in zip(layers(method), ws, strict=True):
        z = h[-1] @ w.T + layer.bias.detach().numpy()
        h.append(np.tanh(z))
    e = np.exp(z - z.max(1, keepdims=True))
    d = (e / e.sum(1, keepdims=True) - np.eye(CLASSES)[np.arange(6) % CLASSES]) / 6
    for n in (2, 1, 0):
        grad = layers(method)[n].weight.grad.numpy(), layers(method)[n].bias.grad.numpy()
        np.testing.assert_allclose(grad[0], d.T @ h[n], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(grad[1], d.sum(0), rtol=1e-10, atol=1e-14)
        if weights == "random":
            b = method.feedback_weights[0][n].matrix.numpy()
        else:
            b = float(method.feedback_weights[0][n].size) * np.sign(ws[n])
            # Orthogonal at the start: all squares add up to the number of rows or columns.
            size = float(method.feedback_weights[0][n].size)
            assert size == pytest.approx(max(ws[n].shape) ** -0.5)
        d = (d @ b) * (1 - h[n] ** 2)


@pytest.mark.parametrize("settings", [{}, {"stride": 2, "padding": 1}, {"groups": 2}])
def test_a_convolution_carries_back_the_derivative_of_one_with_b(settings: dict[str, Any]) -> None:
    """Finite differences of <d, conv(x; B)>, and of <d, conv(x; W)> along the weight."""
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, bias=False, **settings).double()
    other = nn.Conv2d(4, 6, 3, bias=False, **settings).double().requires_grad_(False)
    carrier = Random(layer).double()
    carrier.matrix.copy_(other.weight)
    x, eps = torch.randn(2, 4, 7, 6, dtype=torch.float64, requires_grad=True), 1e-6
    y = layer(x)
    d, dx, dw = torch.randn_like(y), torch.randn_like(x), torch.randn_like(layer.weight)
    y.backward(d)
    with torch.no_grad():
        slope = (d * (other(x + eps * dx) - other(x - eps * dx))).sum() / (2 * eps)
        torch.testing.assert_close((x.grad * dx).sum(), slope, rtol=1e-7, atol=1e-8)
        found = (layer.weight.grad * dw).sum()
        layer.weight += eps * dw
        above = (d * layer(x)).sum()
        layer.weight -= 2 * eps * dw
        slope = (above - (d * layer(x)).sum()) / (2 * eps)
        torch.testing.assert_close(found, slope, rtol=1e-7, atol=1e-8)


def test_a_trained_network_is_differentiated_as_any_other() -> None:
    """In eval mode, as it is loaded and exported."""
    found = []
    for name in ("feedback_alignment", "backprop"):
        method, x = made("resnet8", name).eval(), torch.ones(1, 3, 16, 16, dtype=torch.float64)
        method.predict(x.requires_grad_()).square().sum().backward()
        found.append([x.grad, *(p.grad for p in method.parameters())])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_what_follows_a_layer_may_work_in_place() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    carrier, _ = Random(first), Random(second)
    x = torch.randn(5, 3, requires_grad=True)
    y = nn.Sequential(first, nn.ReLU(inplace=True))(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y > 0).float() @ carrier.matrix)


def test_random_weights_have_the_size_of_those_they_stand_for() -> None:
    method = made("resnet8")
    pairs = list(zip(method.feedback_weights[0], layers(method), strict=True))
    assert len(pairs) == 1 + 3 * 2 + 2 + 1
    for carrier, layer in pairs:
        b, w = carrier.matrix, layer.weight.detach()
        ratio = float(b.square().mean() / w.square().mean())
        assert abs(ratio - 1) < 4 * (2 / b.numel()) ** 0.5
        correlation = float((b * w).mean() / (b.std() * w.std()))
        assert abs(correlation) < 4 * b.numel() ** -0.5


def test_a_step_costs_what_backpropagation_does() -> None:
    mine, its = (
        flops.flops(made("resnet8", name), (3, 16, 16), 4)
        for name in ("feedback_alignment", "backprop")
    )
    assert mine == its


def test_weights_that_start_at_zero_come_to_align_with_b() -> None:
    """What carries errors shapes the layers below, and these the weights above."""
    method = made("mlp2x8-tanh")
    with torch.no_grad():
        for p in method.parameters():
            p.zero_()
    optimizer = torch.optim.SGD(method.parameters(), 0.1)
    for _ in range(30):
        optimizer.zero_grad()
        step(method)
        optimizer.step()
    for carrier, layer in list(zip(method.feedback_weights[0], layers(method), strict=True))[1:]:
        b, w = carrier.matrix.flatten(), layer.weight.detach().flatten()
        assert float(torch.cosine_similarity(b, w, dim=0)) > 0.4
