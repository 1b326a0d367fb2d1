"""A linear classifier fitted to frozen features, standardised or not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Standardise:
    """Features (N D) minus their mean, over their standard deviation: of these features."""

    def __init__(self, x: Tensor) -> None:
        self.mean, self.std = x.mean(0), x.std(0, correction=0).clamp(min=1e-6)

    def __call__(self, x: Tensor) -> Tensor:
        """N D -> N D."""
        return (x - self.mean) / self.std


def fit_linear(
    x: Tensor, y: Tensor, classes: int, decay: float = 1e-3, steps: int = 200
) -> nn.Linear:
    """Multinomial logistic regression by L-BFGS from zero weights, to convergence or so many steps.

    Minimises mean cross-entropy + decay / 2 |W|^2; the same features give the same weights.

    Args:
        x: features (N D).
        y: labels (N).
        classes: number of scores.
        decay: of the weights, not of the biases.
        steps: most iterations.

    Returns:
        A layer D -> classes, in the features' precision.
    """
    layer = nn.Linear(x.shape[1], classes, device=x.device, dtype=x.dtype)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(layer(x), y) + decay / 2 * layer.weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return layer.requires_grad_(False)


def error(layer: nn.Linear, x: Tensor, y: Tensor) -> float:
    """Error of a layer in percent, on features (N D) with labels (N)."""
    return 100 * float((layer(x).argmax(1) != y).float().mean())
