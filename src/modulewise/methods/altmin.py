"""Online alternating minimisation (Choromanska et al., ICML 2019, arXiv 1806.09077): each cut has
a code for every image of the batch, and a step moves codes first, then weights.

    c_k = h_k                                                    a forward pass
    for k = K-2 ... 0, n steps down the gradient of
        above_k( c_k ) / mu + | c_k - h_k |^2 + ( l1 / mu ) |c_k|_1
    above_{K-2}( c ) = L( f_{K-1}( c ), y )                      the task's loss
    above_k( c )     = mu | f_{k+1}( c ) - c_{k+1} |^2
    module k minimises      | f_k( c_{k-1} ) - c_k |^2           codes given; c_{-1} the images
    the last module         L( f_{K-1}( c_{K-2} ), y )

Squares and |c|_1 are means over images and elements. Codes move by Nesterov's momentum. Nothing
crosses a cut backwards but codes: one module's graph is alive at a time, and its weights solve a
problem of their own. The first step of a code goes down the true gradient, so that for small steps
and one of them (n = 1) the gradients of module k have the direction of backpropagation's, times a
factor that every cut shrinks by 2 (1 + momentum) lr_codes / (B D): B images, D elements of a code.
An optimiser that does not see the scale of gradients (Adam) is part of the method.

Deviations from the paper:

1. Codes are what modules give, where the partition cuts, here behind a layer's nonlinearity; theirs
   are what linear layers give, before it, one code a layer.
2. From their released code (github.com/IBM/online-alt-min) are the means over images and elements,
   the momentum, the order, and all defaults: 5 steps of 0.3, mu 0.003, l1 0. The paper itself was
   not read.
3. There the pull towards h_k has no gradient, for h_k is copied with its graph; here it has the one
   that the formula says.
4. BatchNorm's statistics count the forward pass alone, in their code every pass.
5. One step for the weights of all modules, with one rate (theirs default to the same); the options
   to let mu grow, to shrink weights (l1), to draw codes through step functions, to fit the last
   layer once more after training, and the variant that remembers covariances of codes are absent.
6. Computed in fp32 under the setting bf16 too. Dropout draws anew in every pass, so that the first
   codes have an error of their own in networks with dropout.
7. Means over the batch: the fewer images, the larger the steps of a code. Micro-batches
   (`accumulate`) are batches to it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from modulewise.config.types import Count, Momentum, NonNegative, Positive
from modulewise.method import Batch
from modulewise.models.network import CutNetwork
from modulewise.parts import codes


class Altmin(codes.Coded):
    """Codes at every cut, and modules that regress them.

    Args:
        trunk: the network, cut.
        code_steps: n, steps of every code.
        lr_codes: their size.
        code_momentum: Nesterov's, of the codes.
        mu: the smaller, the farther the top code follows the task's loss.
        l1: weight of the codes' absolute values.
    """

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        code_steps: Count = 5,
        lr_codes: Positive = 0.3,
        code_momentum: Momentum = 0.9,
        mu: Positive = 0.003,
        l1: NonNegative = 0.0,
    ) -> None:
        super().__init__(trunk)
        self.code_steps, self.lr_codes, self.code_momentum = code_steps, lr_codes, code_momentum
        self.mu, self.l1 = mu, l1
        if self.k > 1:
            self.passes = 1 + code_steps + 1  # forward, for the codes, for the weights

    def settled(self, batch: Batch, entering: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Each code makes all its steps, from the last to the first."""
        entering = list(entering)
        for k in reversed(range(1, self.k)):
            entering[k] = self._descend(self._objective(k, entering, batch), entering[k])
        return entering, entering[1:]

    def distance(self, h: Tensor, target: Tensor) -> Tensor:
        """Mean square over images and elements."""
        return (h - target).square().mean()

    def _objective(
        self, k: int, entering: list[Tensor], batch: Batch
    ) -> Callable[[Tensor], Tensor]:
        """Of the code that enters module k."""
        weight = 1 / self.mu if k == self.k - 1 else 1.0
        start = entering[k]

        def objective(c: Tensor) -> Tensor:
            value = weight * self.misfit(k, c, entering[1:], batch) + self.distance(c, start)
            return value + self.l1 / self.mu * c.abs().mean() if self.l1 else value

        return objective

    def _descend(self, objective: Callable[[Tensor], Tensor], code: Tensor) -> Tensor:
        """The code after its steps."""
        velocity = torch.zeros_like(code)
        for _ in range(self.code_steps):
            g = codes.gradient(objective, code)
            velocity = self.code_momentum * velocity + g
            code = code - self.lr_codes * (g + self.code_momentum * velocity)
        return code
