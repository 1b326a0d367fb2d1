"""Objectives on pairs: published test vectors, and loops in float64 written from their
definitions."""

from __future__ import annotations

import itertools
import math
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modulewise.config.types import PairFeature, PairObjective
from modulewise.models.phi import phi
from modulewise.parts import pairs

OBJECTIVES, FEATURES = get_args(PairObjective), get_args(PairFeature)
DEFINED = [(f, o) for f in FEATURES for o in OBJECTIVES if f == "tanh" or o != "alignment_neo"]
Z = torch.tensor([[1, 3], [0.5, -2], [9, 0.1]])
Y = torch.tensor([0, 1, 0])
VECTORS = {
    "gaussian": {
        "raw": -0.2889,
        "raw_neo": -0.7815,
        "nmse": -0.2964,
        "nmse_neo": -0.6207,
        "alignment": 0.7733,
        "upper_tri_alignment": 0.5299,
        "contrastive": 0.3136,
        "contrastive_neo": -2.1957,
        "log_contrastive": -1.1597,
        "log_contrastive_neo": -0.7865,
    },
    "tanh": {
        "raw": 0.2654,
        "raw_neo": 0.0563,
        "nmse": -0.4881,
        "nmse_neo": -1.0481,
        "alignment": 0.7155,
        "upper_tri_alignment": 0.5176,
        "contrastive": 0.4925,
        "contrastive_neo": -1.0207,
        "log_contrastive": -0.7083,
        "log_contrastive_neo": -0.0205,
        "alignment_neo": 0.1405,
    },
}
"""Of kerNET's unit tests: Z and Y, sigma = 10."""


def value(feature: str, objective: str, z: Tensor, y: Tensor, sigma: float = 10.0) -> Tensor:
    return pairs.value(
        objective,  # type: ignore[arg-type]
        pairs.kernel(feature, z, sigma),  # type: ignore[arg-type]
        y,
        *pairs.bounds(feature),  # type: ignore[arg-type]
    )


def naive_kernel(feature: str, z: np.ndarray, sigma: float) -> np.ndarray:
    if feature == "gaussian":
        return np.exp(-((z[:, None] - z[None]) ** 2).sum(2) / (2 * sigma**2))
    shapes = {"tanh": np.tanh, "sigmoid": lambda a: 1 / (1 + np.exp(-a))}
    v = shapes.get(feature, lambda a: np.maximum(a, 0))(z)
    v = v / np.maximum(np.sqrt((v**2).sum(1, keepdims=True)), 1e-12)
    return v @ v.T


def naive(feature: str, objective: str, z: np.ndarray, y: list[int], sigma: float) -> float | None:
    """Pair by pair; none where a mean, a cosine or a logarithm has no value."""
    k, low, n = naive_kernel(feature, z, sigma), -1.0 if feature == "tanh" else 0.0, len(y)
    everything = [(i, j) for i in range(n) for j in range(n)]
    same = [(i, j) for i, j in everything if i != j and y[i] == y[j]]
    others = [(i, j) for i, j in everything if y[i] != y[j]]
    ideal = {(i, j): 1.0 if y[i] == y[j] else low for i, j in everything}

    def cosine(of: list[tuple[int, int]]) -> float | None:
        a, b = np.array([k[p] for p in of]), np.array([ideal[p] for p in of])
        length = math.sqrt((a**2).sum() * (b**2).sum())
        return float(a @ b) / length if length > 0 else None

    def mean(of: list[float]) -> float | None:
        return sum(of) / len(of) if of else None

    exps = {p: math.exp(k[p]) for p in everything}
    squares = {p: (k[p] - ideal[p]) ** 2 for p in everything}
    if objective == "raw":
        return (sum(k[p] for p in same) - sum(k[p] for p in others)) / (n * n - n)
    if objective == "nmse":
        return -sum(squares.values()) / n**2
    if objective == "alignment":
        return cosine(everything)
    if objective == "upper_tri_alignment":
        return cosine([(i, j) for i, j in everything if i < j])
    if objective == "alignment_neo":
        return cosine(others)
    if objective in ("contrastive", "log_contrastive"):
        share = sum(exps[p] for p in same) / sum(exps[p] for p in same + others)
        if objective == "contrastive":
            return share
        return math.log(share) if share > 0 else None
    terms = {"raw_neo": k, "nmse_neo": squares}.get(objective, exps)
    average = mean([float(terms[p]) for p in others])
    if average is None:
        return None
    return -math.log(average) if objective == "log_contrastive_neo" else -average


def drawn(n: int, seed: int, d: int = 4) -> Tensor:
    return 2 * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("feature", "objective"), [(f, o) for f in VECTORS for o in VECTORS[f]])
def test_published_vectors(feature: str, objective: str) -> None:
    found = value(feature, objective, Z, Y).item()
    assert found == pytest.approx(VECTORS[feature][objective], abs=5.1e-5)


def test_the_upper_triangle_on_negatives_is_all_of_them() -> None:
    """The 22nd vector: k is symmetric, so that the cosine over N with i < j is that over N."""
    k = pairs.kernel("tanh", Z)
    over = torch.stack([k[0, 1], k[1, 2]])
    expected = F.cosine_similarity(over, -torch.ones(2), dim=0).item()
    assert expected == pytest.approx(0.1405, abs=5e-5)
    assert value("tanh", "alignment_neo", Z, Y).item() == pytest.approx(expected, rel=1e-6)


@given(
    st.sampled_from(DEFINED),
    st.lists(st.integers(0, 3), min_size=2, max_size=9),
    st.integers(0, 10),
    st.sampled_from([0.5, 3.0, 10.0]),
)
def test_values_are_those_of_the_loops(
    what: tuple[str, str], labels: list[int], seed: int, sigma: float
) -> None:
    z, y = drawn(len(labels), seed), torch.tensor(labels)
    expected = naive(*what, z.numpy(), labels, sigma)
    found = value(*what, z, y, sigma)
    if expected is not None:
        assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        single = value(*what, z.float(), y, sigma)
        assert single.item() == pytest.approx(expected, rel=2e-4, abs=2e-5)
    else:
        assert found.item() == 0.0


@pytest.mark.parametrize(("feature", "objective"), DEFINED)
def test_gradients_are_finite_differences(feature: str, objective: str) -> None:
    y = torch.tensor([0, 1, 0, 2, 1])
    z = drawn(5, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: value(feature, objective, z, y, 3.0), z)


ALL_DIFFERENT = {"upper_tri_alignment": 0.0, "contrastive": 0.0, "log_contrastive": 0.0}
ALL_SAME = {"contrastive": 1.0, "log_contrastive": 0.0} | {
    name: 0.0 for name in OBJECTIVES if name.endswith("_neo")
}


@pytest.mark.parametrize(
    ("labels", "values"), [([0, 1, 2, 3], ALL_DIFFERENT), ([2, 2, 2, 2], ALL_SAME)]
)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_batches_without_pairs_of_one_kind(
    objective: str, labels: list[int], values: dict[str, float]
) -> None:
    """As documented: a value, and no gradient where there is nothing to learn from."""
    z = drawn(4, 0).requires_grad_()
    feature = "tanh" if objective == "alignment_neo" else "relu"
    found = value(feature, objective, z, torch.tensor(labels))
    found.backward()
    assert z.grad is not None and torch.isfinite(z.grad).all()
    if objective in values:
        assert found.item() == values[objective]
        assert not z.grad.any()
    else:
        assert found.item() == pytest.approx(
            naive(feature, objective, z.detach().numpy(), labels, 1)
        )
        assert z.grad.any()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4])
def test_extreme_features_give_finite_gradients(objective: str, feature: str, scale: float) -> None:
    """All zero, as from dead units; so small that squares vanish; so large that they saturate."""
    z = (scale * drawn(6, 1)).float().requires_grad_()
    value(feature, objective, z, torch.tensor([0, 1, 0, 1, 2, 2])).backward()
    assert z.grad is not None and torch.isfinite(z.grad).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_classes_apart_are_the_best_there_is(objective: str) -> None:
    """One direction a class: the kernel is ideal."""
    y = torch.tensor([0, 1, 0, 1])
    ideal = torch.tensor([[3.0, -3.0], [-3.0, 3.0]], dtype=torch.float64)[y]
    feature = "tanh" if objective == "alignment_neo" else "relu"
    best = value(feature, objective, ideal, y).item()
    assert all(value(feature, objective, drawn(4, s, 2), y).item() <= best for s in range(50))


@pytest.mark.parametrize("feature", FEATURES)
def test_kernels_stay_within_their_bounds(feature: str) -> None:
    k = pairs.kernel(feature, drawn(30, 2, 12), 2.0)
    low, high = pairs.bounds(feature)
    assert low <= k.min()
    assert (k.min() < 0) == (low < 0)
    assert k.max() <= high + 1e-12
    torch.testing.assert_close(k.diag(), torch.full_like(k.diag(), high))


def test_the_gaussian_kernel_of_far_off_features_keeps_its_digits() -> None:
    """Distances of 1 a thousand away from zero, in float32."""
    z = torch.tensor([[1000.0, 1000.0], [1001.0, 1000.0], [1000.0, 1001.0]])
    assert pairs.kernel("gaussian", z, 1.0)[0, 1].item() == pytest.approx(math.exp(-0.5), rel=1e-6)


def test_reapen_pools_by_four() -> None:
    z = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    a = np.maximum(z.numpy(), 0).reshape(2, 3, 2, 4, 3, 4).mean((3, 5)).reshape(2, -1)
    expected = a / np.sqrt((a**2).sum(1, keepdims=True))
    torch.testing.assert_close(phi("reapen", z), torch.from_numpy(expected))


@pytest.mark.parametrize(("size", "parts"), [(1, [1]), (2, [2]), (3, [3]), (7, [4, 3])])
def test_reapen_pools_what_is_there(size: int, parts: list[int]) -> None:
    z = torch.rand(1, 1, size, size, dtype=torch.float64)
    edges = np.cumsum([0, *parts])
    means = [
        z[0, 0, a:b, c:d].mean().item()
        for a, b in itertools.pairwise(edges)
        for c, d in itertools.pairwise(edges)
    ]
    length = math.sqrt(sum(m * m for m in means))
    assert phi("reapen", z)[0].tolist() == pytest.approx([m / length for m in means])


@pytest.mark.parametrize("kind", ["relu", "tanh", "sigmoid", "reapen"])
def test_feature_maps_have_unit_length(kind: str) -> None:
    maps = drawn(6, 0, 3 * 4 * 4).reshape(6, 3, 4, 4)
    flat = phi(kind, maps.flatten(1))  # type: ignore[arg-type]
    for v in (flat, phi(kind, maps)):  # type: ignore[arg-type]
        torch.testing.assert_close(v.norm(dim=1), torch.ones(6, dtype=torch.float64))
    if kind != "reapen":
        assert torch.equal(flat, phi(kind, maps))  # type: ignore[arg-type]
    else:
        assert torch.equal(flat, phi("relu", maps))


def test_features_of_no_length_stay_zero() -> None:
    assert not phi("relu", -torch.ones(2, 3)).any()
