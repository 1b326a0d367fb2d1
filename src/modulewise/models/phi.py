"""Feature maps of unit length: the nonlinearity behind a linear layer, and the kernel it spans, as
in modular training on pairs (arXiv 2005.05541).

    phi(z) = v / max(|v|, 1e-12),   v = relu(z), tanh(z), sigmoid(z), flat;
                                    or reapen: relu(z), pooled by 4x4 averages, flat

Windows that reach beyond an edge, and whole maps smaller than 4x4, are averaged over what is there;
features without height and width are not pooled.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.config.types import FeatureMap

_ACTIVATIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}


def activation(kind: str, z: Tensor) -> Tensor:
    """The feature map's nonlinearity alone, element by element."""
    return _ACTIVATIONS.get(kind, F.relu)(z)


def phi(kind: FeatureMap, z: Tensor) -> Tensor:
    """Unit features (B D) of pre-activations (B C or B C H W)."""
    v = activation(kind, z)
    if kind == "reapen" and v.dim() == 4:
        v = F.avg_pool2d(v, 4, ceil_mode=True)
    return F.normalize(v.flatten(1), dim=1, eps=1e-12)


class Phi(nn.Module):
    """A feature map as the last stage of a network, before its linear classifier; it has no
    parameters.

    Args:
        kind: which one.
    """

    def __init__(self, kind: FeatureMap) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, z: Tensor) -> Tensor:
        """B C or B C H W -> B D."""
        return phi(self.kind, z)
