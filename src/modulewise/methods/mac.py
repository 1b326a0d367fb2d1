"""Method of auxiliary coordinates (Carreira-Perpinan and Wang, arXiv 1212.5921; as block coordinate
descent arXiv 1803.00225): what modules give is a variable, held to them by a penalty; coordinates
and weights are minimised in turns.

    E = L( f_{K-1}( a_{K-2} ), y ) + rho / 2  sum over k < K-1 of | a_k - f_k( a_{k-1} ) + u_k |^2
    a_k = h_k,  u_k = 0                                    a forward pass; a_{-1} the images
    a sweep:     for k = K-2 ... 0      a_k <- a_k - ( step / rho ) dE / da_k
    multipliers: between two sweeps     u_k <- u_k + a_k - f_k( a_{k-1} )
    module k minimises its term of E, coordinates given

E is of one image, squares are sums over its elements, a loss is the mean over the batch. With
`multipliers` it is the alternating direction method (ADMM, as in arXiv 1605.02026), u_k being
multipliers over rho; without, u_k stays zero.

At the forward pass all penalties are zero and only the last coordinate has a gradient; a sweep goes
from the last module to the first, so that one is enough to reach all. It moves a_k by
- step^(K-1-k) / rho times the true gradient of the image's loss; the gradients of module k are then
step^(K-1-k) times backpropagation's, but for an error that falls like step, for its input has moved
too. The more sweeps, the nearer to the minimum of E, and, with multipliers, to the forward pass
again, where they are backpropagation's gradients. Nothing crosses a cut backwards but coordinates,
and one module's graph is alive at a time.

Deviations from the papers:

1. Mini-batches: coordinates and multipliers belong to a step; they start at the forward pass and at
   zero in each, where the papers keep them for every image of the set.
2. A coordinate makes one gradient step a sweep, and weights make one step of the optimiser a batch;
   the papers solve these problems: by Gauss-Newton or in closed form, layer by layer.
3. Coordinates are what modules give, where the partition cuts, not of every layer; arXiv 1605.02026
   and 1803.00225 also split a layer before its nonlinearity, and the former has multipliers at the
   output alone.
4. rho stays as it is; the first paper lets it grow.
5. BatchNorm's statistics count the forward pass alone.
6. Computed in fp32 under the setting bf16 too. Dropout draws anew in every pass: in networks that
   have it penalties are not zero at the forward pass.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from modulewise.config.types import Count, Positive
from modulewise.method import Batch
from modulewise.models.network import CutNetwork
from modulewise.parts import codes
from modulewise.parts.precision import unrounded
from modulewise.parts.statistics import frozen_statistics


class Mac(codes.Coded):
    """Coordinates at every cut, and modules that meet them.

    Args:
        trunk: the network, cut.
        rho: weight of the penalties.
        step: of a coordinate, in parts of 1 / rho.
        sweeps: over all coordinates.
        multipliers: ADMM; with a single sweep they stay zero.
    """

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        rho: Positive = 1.0,
        step: Positive = 0.2,
        sweeps: Count = 3,
        multipliers: bool = False,
    ) -> None:
        super().__init__(trunk)
        self.rho, self.step, self.sweeps, self.multipliers = rho, step, sweeps, multipliers
        if self.k > 1:  # forward, sweeps, between sweeps (not the last module), for the weights
            self.passes = 1 + sweeps + (sweeps - 1 if self.k > 2 else 0) + 1

    def settled(self, batch: Batch, entering: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Coordinates after all sweeps; targets are coordinates plus multipliers."""
        a, u = list(entering), [torch.zeros_like(t) for t in entering[1:]]
        given = entering[1:]
        for sweep in range(self.sweeps):
            if sweep > 0:
                given = [given[0], *(self._again(k, a[k]) for k in range(1, self.k - 1))]
                if self.multipliers:
                    u = [u[k] + a[k + 1] - h for k, h in enumerate(given)]
            for k in reversed(range(1, self.k)):
                targets = [t + v for t, v in zip(a[1:], u, strict=True)]
                above = codes.gradient(partial(self._images, k, targets, batch), a[k])
                a[k] = a[k] - self.step * (targets[k - 1] - given[k - 1] + above / self.rho)
        return a, [t + v for t, v in zip(a[1:], u, strict=True)]

    def distance(self, h: Tensor, target: Tensor) -> Tensor:
        """A module's penalty, mean over images."""
        return self.rho / 2 * (h - target).square().sum() / len(h)

    def _images(self, k: int, targets: list[Tensor], batch: Batch, x: Tensor) -> Tensor:
        """Module k's term of E, summed over the batch."""
        return len(x) * self.misfit(k, x, targets, batch)

    @torch.no_grad()
    def _again(self, k: int, x: Tensor) -> Tensor:
        """What module k gives for x."""
        with unrounded(x), frozen_statistics(self.trunk[k]):
            return self.trunk[k](x)
