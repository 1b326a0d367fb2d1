"""Local losses that several methods use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise.parts.precision import in_fp32, unrounded


def supervised_contrastive(z: Tensor, y: Tensor, temperature: float = 0.07) -> Tensor:
    """Supervised contrastive loss over a batch, one view (Khosla et al., arXiv 2004.11362, L_out),
    as InfoPro uses it.

    For anchor i: minus the mean over j != i of the same class of log( exp(z_i.z_j / T) / sum over a
    != i of exp(z_i.z_a / T) ). Anchors without a positive contribute 0 and still count in the mean
    over anchors.

    Args:
        z: embeddings (B D); they are L2-normalised here.
        y: labels (B).
        temperature: T.

    Returns:
        Scalar, in nats.
    """
    with unrounded(z):
        z = F.normalize(in_fp32(z), dim=1)
        similarity = z @ z.T / temperature
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    log_p = F.log_softmax(similarity.masked_fill(itself, float("-inf")), dim=1)
    positive = (y[:, None] == y[None, :]) & ~itself
    per_anchor = -log_p.masked_fill(~positive, 0.0).sum(1) / positive.sum(1).clamp(min=1)
    return per_anchor.mean()


def nt_xent(a: Tensor, b: Tensor, temperature: float = 0.5) -> Tensor:
    """Normalised temperature-scaled cross-entropy of two views (SimCLR, arXiv 2002.05709): the
    supervised contrastive loss of 2 B embeddings where every image is a class of its own.

    For each embedding i, whose other view is j: minus log( exp(z_i.z_j / T) / sum over a != i of
    exp(z_i.z_a / T) ); the mean over all 2 B.

    Args:
        a: embeddings of one view (B D); they are L2-normalised here.
        b: of the other, of the same images in the same order.
        temperature: T.

    Returns:
        Scalar, in nats.
    """
    image = torch.arange(len(a), device=a.device).repeat(2)
    return supervised_contrastive(torch.cat([a, b]), image, temperature)


def reconstruction(logits: Tensor, image: Tensor) -> Tensor:
    """Mean binary cross-entropy in nats of a reconstruction (given by its logits) against an image
    in [0, 1]."""
    return F.binary_cross_entropy_with_logits(logits, image)


def interpolate(ends: tuple[float, float], k: int, modules: int) -> float:
    """Weight of auxiliary module k of 0 ... K-2: linear from the first to the last of them; the
    first one for K = 2.

    Example:
        >>> [interpolate((5, 0.5), k, 4) for k in range(3)]
        [5.0, 2.75, 0.5]
    """
    t = k / (modules - 2) if modules > 2 else 0.0
    return (1 - t) * ends[0] + t * ends[1]
