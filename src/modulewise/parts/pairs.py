"""Objectives on pairs of a batch, which need to know of two images only whether they are of one
class (Duan, Yu and Principe, arXiv 2005.05541; Duan et al., Neural Computation 32(1), 2020).

With K_ij = k(z_i, z_j), K*_ij = high for images of one class and low for others (the kernel's
bounds), P the pairs i != j of one class and N those of two, all objectives are to be maximised:

    raw                   ( sum_P K - sum_N K ) / (B^2 - B)
    nmse                  - mean over all i, j of (K - K*)^2
    alignment             cos( K, K* ) over all i, j
    upper_tri_alignment   cos( K, K* ) over i < j
    contrastive           sum_P exp K / sum_{P, N} exp K
    log_contrastive       log of that

and on N alone, "negative only" (K* is then low everywhere):

    raw_neo               - mean_N K
    nmse_neo              - mean_N (K - K*)^2
    alignment_neo         cos( K, K* ) over N; none where low = 0
    contrastive_neo       - mean_N exp K
    log_contrastive_neo   - log mean_N exp K

Batches that lack the pairs of an objective give a finite value and no gradient: without a pair of
one class both contrastive forms and the upper triangle (where low = 0) are 0; without a pair of two
classes contrastive is 1, log_contrastive and every `neo` form 0. The other objectives are defined.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modulewise.config.types import PairFeature, PairObjective
from modulewise.models.phi import phi
from modulewise.parts.precision import in_fp32, unrounded

TINY = 1e-12


def bounds(feature: PairFeature) -> tuple[float, float]:
    """The least and largest value of the kernel."""
    return (-1.0 if feature == "tanh" else 0.0), 1.0


def defined(feature: PairFeature, objective: PairObjective) -> bool:
    """Whether the objective has a value: cosines with zero have none."""
    return objective != "alignment_neo" or bounds(feature)[0] != 0


def kernel(feature: PairFeature, z: Tensor, sigma: float = 10.0) -> Tensor:
    """Kernel values (B B) of pre-activations (B C or B C H W), never computed in bf16.

    Args:
        feature: phi of a kernel phi(u) . phi(v), or `gaussian`: exp(-|u - v|^2 / (2 sigma^2)).
        z: the pre-activations.
        sigma: of the Gaussian kernel.
    """
    with unrounded(z):
        z = in_fp32(z)
        if feature != "gaussian":
            v = phi(feature, z)
            return v @ v.T
        v = z.flatten(1)
        v = v - v.mean(0)  # distances stay; their rounding shrinks
        square = v.square().sum(1)
        distance = (square[:, None] + square[None, :] - 2 * v @ v.T).clamp(min=0)
        return torch.exp(-distance / (2 * sigma**2))


def value(objective: PairObjective, k: Tensor, y: Tensor, low: float, high: float = 1.0) -> Tensor:
    """The objective, a scalar to be maximised.

    Args:
        objective: which one, as above.
        k: kernel values (B B).
        y: labels (B).
        low: least value of the kernel.
        high: largest value of the kernel.
    """
    same = y[:, None] == y[None, :]
    target = torch.where(same, high, low).to(k.dtype)
    off = ~torch.eye(len(y), dtype=torch.bool, device=y.device)
    different = ~same
    name = objective.removesuffix("_neo")
    if name != objective:
        return _on_negatives(name, k, target, different)
    if name == "raw":
        pairs = max(1, len(y) * (len(y) - 1))
        return (_sum(k, same & off) - _sum(k, different)) / pairs
    if name == "nmse":
        return -(k - target).square().mean()
    if name == "alignment":
        return _cosine(k, target)
    if name == "upper_tri_alignment":
        return _cosine(k.triu(1), target.triu(1))
    every = _sum(k.exp(), off).clamp(min=TINY)
    positive = _sum(k.exp(), same & off)
    if name == "contrastive":
        return positive / every
    return (torch.where((same & off).any(), positive, every) / every).log()


def _on_negatives(name: str, k: Tensor, target: Tensor, different: Tensor) -> Tensor:
    count = different.sum().clamp(min=1)
    if name == "raw":
        return -_sum(k, different) / count
    if name == "nmse":
        return -_sum((k - target).square(), different) / count
    if name == "alignment":
        return _cosine(k * different, target * different)
    mean = _sum(k.exp(), different) / count
    if name == "contrastive":
        return -mean
    return -torch.where(different.any(), mean, 1.0).log()


def _sum(values: Tensor, pairs: Tensor) -> Tensor:
    return (values * pairs).sum()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of two matrices; 0 where one of them is zero."""
    return (a * b).sum() / (a.norm().clamp(min=TINY) * b.norm().clamp(min=TINY))
