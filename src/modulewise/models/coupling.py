"""Stages that can be inverted: what enters one is computed from what leaves it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Halves = tuple[Tensor, Tensor]


class Coupling(nn.Module):
    """Additive coupling of the two halves of the channels (Gomez et al., arXiv 1707.04585, eqs. 6
    to 8):

        y1 = s1(x1) + f(x2),  y2 = s2(x2) + g(y1)

    Where the shortcuts s1, s2 are identities it has an inverse: x2 = y2 - g(y1), x1 = y1 - f(x2).

    Args:
        f: of the second half.
        g: of the first half's output.
        shortcuts: s1 and s2, where the shape changes.
    """

    def __init__(
        self, f: nn.Module, g: nn.Module, shortcuts: tuple[nn.Module, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.f, self.g = f, g
        self.shortcuts = nn.ModuleList(shortcuts or (nn.Identity(), nn.Identity()))
        self.reversible = shortcuts is None

    def couple(self, x1: Tensor, x2: Tensor) -> Halves:
        """Halves (B C/2 H W) of the input -> halves of the output."""
        y1 = self.shortcuts[0](x1) + self.f(x2)
        return y1, self.shortcuts[1](x2) + self.g(y1)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H' W'."""
        return torch.cat(self.couple(*x.chunk(2, 1)), 1)
