"""Local losses against loops in float64 written from their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modulewise.parts.losses import (
    interpolate,
    nt_xent,
    reconstruction,
    supervised_contrastive,
)
from modulewise.tasks.classification import Classification


def naive(z: Tensor, y: Tensor, temperature: float) -> float:
    """Anchor by anchor, in numpy, with the maximum subtracted."""
    v = z.double().numpy()
    v = v / np.sqrt((v**2).sum(1, keepdims=True))
    n = len(v)
    total = 0.0
    for i in range(n):
        s = [float(v[i] @ v[a]) / temperature for a in range(n)]
        top = max(s[a] for a in range(n) if a != i)
        log_sum = top + math.log(sum(math.exp(s[a] - top) for a in range(n) if a != i))
        positives = [j for j in range(n) if j != i and y[j] == y[i]]
        if positives:
            total -= sum(s[j] - log_sum for j in positives) / len(positives)
    return total / n


def embeddings(n: int, seed: int = 0, d: int = 5) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(
    labels=st.lists(st.integers(0, 3), min_size=2, max_size=9),
    seed=st.integers(0, 10),
    temperature=st.sampled_from([0.07, 0.5, 2.0]),
)
def test_contrastive_is_the_naive_loop(labels: list[int], seed: int, temperature: float) -> None:
    z, y = embeddings(len(labels), seed), torch.tensor(labels)
    assert supervised_contrastive(z, y, temperature).item() == pytest.approx(
        naive(z, y, temperature), rel=1e-11, abs=1e-12
    )


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 2], [1, 1, 0, 0]])
def test_contrastive_of_special_batches(labels: list[int]) -> None:
    """A single class; no anchor with a positive; some without; pairs."""
    z, y = embeddings(4), torch.tensor(labels)
    value = supervised_contrastive(z, y)
    assert value.item() == pytest.approx(naive(z, y, 0.07), rel=1e-11, abs=1e-12)
    if len(set(labels)) == 4:
        assert value.item() == 0.0


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_nt_xent_is_its_definition(n: int, temperature: float) -> None:
    """SimCLR's equation 1 in float64: both directions of every pair, among 2 n embeddings."""
    a, b = embeddings(n, 1), embeddings(n, 2)
    z = np.concatenate([a.numpy(), b.numpy()])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    e = np.exp(z @ z.T / temperature)
    terms = []
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        terms.append(-np.log(e[i, j] / sum(e[i, k] for k in range(2 * n) if k != i)))
    value = nt_xent(a, b, temperature).item()
    assert value == pytest.approx(np.mean(terms), rel=1e-11, abs=1e-12)


def test_anchors_without_a_positive_count_in_the_mean() -> None:
    """Four equal directions: every pair's log-probability is log(1/3); half of the anchors have a
    positive."""
    z = torch.ones(4, 3, dtype=torch.float64)
    assert supervised_contrastive(z, torch.tensor([0, 0, 1, 2])).item() == pytest.approx(
        math.log(3) / 2
    )


def test_contrastive_default_temperature_is_the_papers() -> None:
    z, y = embeddings(6), torch.tensor([0, 1, 0, 1, 2, 2])
    assert supervised_contrastive(z, y).item() == supervised_contrastive(z, y, 0.07).item()


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_contrastive_does_not_depend_on_the_length_of_embeddings(scale: float) -> None:
    z, y = embeddings(6), torch.tensor([0, 1, 0, 1, 2, 2])
    assert supervised_contrastive(scale * z, y).item() == pytest.approx(
        supervised_contrastive(z, y).item(), rel=1e-9
    )


def test_contrastive_of_large_logits_is_finite_in_float32() -> None:
    """Similarities of up to 1000: their exponentials overflow."""
    z, y = embeddings(6).float(), torch.tensor([0, 1, 0, 1, 2, 2])
    z.requires_grad_()
    value = supervised_contrastive(z, y, 1e-3)
    value.backward()
    assert value.item() == pytest.approx(naive(z.detach(), y, 1e-3), rel=1e-4)
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 2], [0, 0, 0, 0, 0], [0, 1, 2, 3, 3]])
def test_contrastive_gradient_is_the_finite_difference(labels: list[int]) -> None:
    y = torch.tensor(labels)
    z = embeddings(5, d=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: supervised_contrastive(z, y, 0.5), z)


def test_contrastive_does_not_depend_on_order_or_names_of_classes() -> None:
    z, y = embeddings(7), torch.tensor([0, 1, 0, 1, 2, 2, 0])
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    expected = supervised_contrastive(z, y).item()
    assert supervised_contrastive(z[order], y[order]).item() == pytest.approx(expected)
    assert supervised_contrastive(z, 9 - 3 * y).item() == pytest.approx(expected)


def test_reconstruction_is_cross_entropy_of_the_sigmoid() -> None:
    logits = 3 * torch.randn(
        2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    image = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    p, t = 1 / (1 + np.exp(-logits.numpy())), image.numpy()
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    assert reconstruction(logits, image).item() == pytest.approx(expected, rel=1e-12)


def test_reconstruction_has_no_limit_at_certainty() -> None:
    """log(sigmoid(-200)) = -200: with a sigmoid computed first, float32 would give minus infinity
    or a cap."""
    value = reconstruction(torch.tensor([-200.0, 200.0]), torch.tensor([1.0, 1.0]))
    assert value.item() == pytest.approx(100.0)


def test_reconstruction_is_least_where_the_sigmoid_is_the_image() -> None:
    image = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    logits = torch.log(image / (1 - image)).requires_grad_()
    reconstruction(logits, image).backward()
    assert logits.grad.abs().max() < 1e-15


ENDS = st.tuples(st.floats(0, 100), st.floats(0, 100))


@given(ENDS, st.integers(3, 60))
def test_interpolation_starts_and_ends_at_its_ends(ends: tuple[float, float], modules: int) -> None:
    assert interpolate(ends, 0, modules) == ends[0]
    assert interpolate(ends, modules - 2, modules) == ends[1]


@given(ENDS, st.integers(4, 60), st.data())
def test_interpolation_is_linear(
    ends: tuple[float, float], modules: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, modules - 3))
    before, here, after = (interpolate(ends, k + d, modules) for d in (-1, 0, 1))
    assert after - here == pytest.approx(here - before, abs=1e-9)
    assert here == pytest.approx(
        ((modules - 2 - k) * ends[0] + k * ends[1]) / (modules - 2), abs=1e-9
    )


@given(ENDS)
def test_of_two_modules_the_first_weight_counts(ends: tuple[float, float]) -> None:
    assert interpolate(ends, 0, 2) == ends[0]


def test_cross_entropy_and_errors_of_the_task() -> None:
    scores = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0]], dtype=torch.float64)
    y = torch.tensor([0, 1])
    s = scores.numpy()
    expected = np.mean([math.log(np.exp(s[0]).sum()) - 2.0, math.log(np.exp(s[1]).sum()) - 1.0])
    task = Classification(3)
    assert task.outputs == 3
    assert task.loss(scores, y).item() == pytest.approx(expected)
    counter = task.counter()
    for rows in ([0], [1], [0, 1]):
        counter.update(scores[rows], y[rows])
    assert counter.compute() == 50.0, "percent"
