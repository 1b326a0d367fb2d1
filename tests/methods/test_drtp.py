"""Direct random target projection: loss and update by hand."""

from __future__ import annotations

import numpy as np
import torch

from modulewise import methods, models
from modulewise.method import Batch, Method
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

CLASSES = 5


def built(network: str, cuts: list[int]) -> Method:
    torch.manual_seed(0)
    net = models.build(network, (3, 4, 4), CLASSES)
    return methods.build("drtp", cut(net, cuts, Classification(CLASSES)), {}).double()


def test_a_step_of_a_perceptron_by_hand() -> None:
    """In numpy: a hidden layer of tanh, whose weights move by the label's projection alone."""
    method = built("mlp2x6-tanh", [1])
    x, y = torch.randn(7, 3, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4, 4, 1])
    linear = method.trunk[0][0][1]
    w, b, rate = linear.weight.detach().numpy().copy(), linear.bias.detach().numpy().copy(), 0.5
    optimizer = torch.optim.SGD(method.parameters(), rate)
    values = []
    for loss in method.losses(Batch(x, y, x, y)):
        loss.value.backward()
        values.append(loss.value.item())
    optimizer.step()
    images, onehot = x.flatten(1).numpy(), np.eye(CLASSES)[y.numpy()]
    h = np.tanh(images @ w.T + b)
    target = onehot @ method.projections[0].matrix.numpy()
    np.testing.assert_allclose(values[0], (h * target).sum() / 7, rtol=1e-12)
    d = target * (1 - h**2)
    np.testing.assert_allclose(linear.weight.detach(), w - rate * d.T @ images / 7, rtol=1e-10)
    np.testing.assert_allclose(linear.bias.detach(), b - rate * d.sum(0) / 7, rtol=1e-10)


def test_the_gradient_of_a_map_is_the_labels_row() -> None:
    method = built("resnet8", [1, 2])
    x, y = torch.randn(3, 3, 4, 4, dtype=torch.float64), torch.tensor([4, 0, 4])
    seen: list[torch.Tensor] = []

    def look(module: object, inputs: object, h: torch.Tensor) -> None:
        h.register_hook(seen.append)

    method.trunk[0].register_forward_hook(look)
    next(method.losses(Batch(x, y, x, y))).value.backward()
    rows = method.projections[0].matrix[y].view(3, 16, 4, 4)
    torch.testing.assert_close(seen[0], rows / 3, rtol=1e-12, atol=0)


def test_matrices_are_drawn_as_said() -> None:
    """Uniform on [-1, 1] sqrt(6 / n): a variance of 2 / n."""
    method = built("resnet8", [1])
    b, n = method.projections[0].matrix, 16 * 4 * 4
    assert b.shape == (CLASSES, n)
    assert float(b.abs().max()) <= (6 / n) ** 0.5
    assert abs(float(b.square().mean()) * n / 2 - 1) < 4 * (0.8 / (CLASSES * n)) ** 0.5
