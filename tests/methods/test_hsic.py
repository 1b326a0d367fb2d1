"""The HSIC bottleneck: its measure of dependence against the formula in numpy, and its laws; what a
step's losses are and whom they reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import CLASSES, Case, Row, a_batch
from modulewise import methods, models
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.methods.hsic import nhsic, of_features, of_labels
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

Array = np.ndarray[Any, np.dtype[np.float64]]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernel(u: Array, sigma: float) -> Array:
    """exp( - |u_i - u_j|^2 / (2 sigma^2 d) )."""
    u = u.reshape(len(u), -1)
    distance = ((u[:, None] - u[None, :]) ** 2).sum(2)
    return np.exp(-distance / (2 * sigma**2 * u.shape[1]))


def reference(k: Array, other: Array) -> float:
    """Sum of R_x * R_y^T as the released code has it: R = K H (K H + 1e-5 m I)^-1."""
    m = len(k)
    h = np.eye(m) - 1 / m
    rx, ry = (c @ np.linalg.inv(c + 1e-5 * m * np.eye(m)) for c in (k @ h, other @ h))
    return float((rx * ry.T).sum())


X, H = noise(12, 3, 4, 4, seed=1), noise(12, 7, seed=2)
Y = torch.tensor([0, 1, 2, 0, 1, 2, 3, 3, 0, 0, 1, 2])
ONE_HOT = np.eye(CLASSES)[Y.numpy()]


@pytest.mark.parametrize("sigma", [0.5, 5.0])
def test_dependence_is_the_formulas(sigma: float) -> None:
    k, kx, ky = of_features(H, sigma), of_features(X, sigma), of_labels(Y, CLASSES, sigma, H)
    ref, rx, ry = (kernel(u, sigma) for u in (H.numpy(), X.numpy(), ONE_HOT))
    for mine, its in ((k, ref), (kx, rx), (ky, ry)):
        np.testing.assert_allclose(mine.numpy(), its, rtol=1e-12)
    for (a, b), (c, d) in (((k, kx), (ref, rx)), ((k, ky), (ref, ry)), ((kx, ky), (rx, ry))):
        assert nhsic(a, b).item() == pytest.approx(reference(c, d), rel=1e-7)


def test_dependence_is_symmetric_not_negative_and_blind_to_the_order_of_the_batch() -> None:
    for seed in range(5):
        a, b = (of_features(noise(9, 5, seed=2 * seed + s), 1.0) for s in (0, 1))
        value = nhsic(a, b).item()
        assert nhsic(b, a).item() == pytest.approx(value, rel=1e-9)
        assert 0 < value < 8
        p = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
        assert nhsic(a[p][:, p], b[p][:, p]).item() == pytest.approx(value, rel=1e-9)


def test_dependence_is_of_pairs() -> None:
    """Labels in another order than the images they are of say less of them."""
    own, other = (of_labels(y, CLASSES, 5.0, H) for y in (Y, Y.flip(0)))
    assert nhsic(own, other).item() < 0.7 * nhsic(own, own).item()


def test_dependence_on_itself_is_of_the_eigenvalues() -> None:
    """Sum of ( l / (l + epsilon m) )^2, l those of the centred kernel."""
    k, m = of_features(H, 5.0), len(H)
    center = torch.eye(m, dtype=torch.float64) - 1 / m
    values = torch.linalg.eigvalsh(center @ k @ center)
    expected = (values / (values + 1e-5 * m)).square().sum()
    assert nhsic(k, k).item() == pytest.approx(expected.item(), rel=1e-9)
    assert 0 < expected < m - 1


def test_what_says_nothing_depends_on_nothing() -> None:
    assert nhsic(of_features(torch.ones(12, 7).double(), 5.0), of_features(X, 5.0)).item() == 0


def test_its_gradient_by_finite_differences() -> None:
    y = of_labels(Y, CLASSES, 2.0, H)

    def loss(h: Tensor) -> Tensor:
        k = of_features(h, 2.0)
        return nhsic(k, of_features(X, 2.0)) - 50 * nhsic(k, y)

    assert torch.autograd.gradcheck(loss, H.clone().requires_grad_(), atol=1e-4)


def test_single_precision_is_near_enough() -> None:
    """At the published width, where all values of a kernel are nearly 1."""
    for a, b in ((H, X), (H, H)):
        exact = nhsic(of_features(a, 5.0), of_features(b, 5.0)).item()
        k, other = (of_features(u.float(), 5.0) for u in (a, b))
        assert nhsic(k, other).item() == pytest.approx(exact, rel=1e-3)


def made(modules: int = 3) -> Method:
    return Row(Case("hsic", modules=modules), "mlp3x32").build().double().train()


def batch() -> Batch:
    b = a_batch()
    return Batch(b.x.double(), b.y, b.image.double(), b.index)


def test_losses_of_a_step_in_numpy() -> None:
    """nHSIC(h, x) - 50 nHSIC(h, y) of every module's stages, and the classifier's cross-entropy on
    the last one's, which its stages do not learn from."""
    method, b = made(), batch()
    seen: list[Array] = []
    for module in method.trunk:
        last_stage = [part for part in module if not isinstance(part, torch.nn.Linear)][-1]
        last_stage.register_forward_hook(lambda *call: seen.append(call[-1].detach().numpy()))
    kx, ky = kernel(b.x.numpy(), 5.0), kernel(np.eye(CLASSES)[b.y.numpy()], 5.0)
    values, reached = {}, {}
    for loss in method.losses(b):
        method.zero_grad()
        loss.value.backward()
        values[loss.name] = loss.value.item()
        reached[loss.name] = {n for n, p in method.named_parameters() if p.grad is not None}
    for name, h in zip(("module_0", "module_1", "bottleneck_2"), seen, strict=True):
        k = kernel(h, 5.0)
        assert values[name] == pytest.approx(reference(k, kx) - 50 * reference(k, ky), rel=1e-7)
    classifier = method.trunk[2][-1]
    logits = seen[2] @ classifier.weight.detach().numpy().T + classifier.bias.detach().numpy()
    likely = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy = -np.log(likely[np.arange(len(h)), b.y.numpy()]).mean()
    assert values["module_2"] == pytest.approx(entropy, rel=1e-9)
    assert reached["module_2"] == {"trunk.2.1.weight", "trunk.2.1.bias"}
    assert {name.rpartition(".")[0].split(".")[1] for name in reached["bottleneck_2"]} == {"2"}
    assert not reached["bottleneck_2"] & reached["module_2"]


def test_maps_of_labels_are_refused_in_one_line() -> None:
    class Maps(Classification):
        def placeholder(self, n: int, image: tuple[int, ...], device: Any) -> Tensor:
            return torch.zeros(n, *image[1:], dtype=torch.long, device=device)

    trunk = cut(models.build("mlp1x8", (1, 4, 4), 2), [], Maps(2))
    with pytest.raises(InvalidInput, match="hsic needs one class label per image"):
        methods.build("hsic", trunk, {})
