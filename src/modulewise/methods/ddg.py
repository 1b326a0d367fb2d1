"""Delayed gradients (DDG: Huo, Gu, Yang & Huang, arXiv 1804.10574): backpropagation in which module
k applies the gradient of the images of K - 1 - k steps ago.

Module k, counted from 0, of K, with d = K - 1 - k, in step t:

    g_k^t = J_w^T e_k^{t-1},   e_{k-1}^t = J_x^T e_k^{t-1},   w_k^{t+1} = w_k^t - lr g_k^t
    J_w, J_x of f_k(x; w) at x = h_{k-1}^{t-d} and w = w_k^{t-d}

where e_k is what has come back for the output of module k, from module k + 1 in the step before.
The last module, whose d is 0, learns the task's loss. No module waits for a later one: all could
make the updates of a step at once. What a module applies is what backpropagation through the whole
net gave, or would have given, d steps ago, with the images and all weights of that time: exact, but
late, and the later the earlier the module stands. With K = 1 it is backpropagation.

Deviations from the paper and its released code:

1. The authors keep the graph of every pass until its gradient is there. Here a module keeps its
   inputs and a copy of its weights, and runs again: the same gradient for one more forward pass,
   with the memory of one graph in place of d + 1, and of d copies of the weights (as PipeDream
   stashes them, arXiv 1806.03377).
2. The released code steps in place on weights that its graphs hold, so that as we read it old
   activations meet new weights there; we follow the paper's equation.
3. Modules run one after the other in one process; the authors run each on a device of its own.
4. An epoch's last batch may be smaller; the released code fills it up with images of its own.
5. In the first K - 1 steps a module for which nothing has come back gets gradients of zero, so that
   its weight decay works from the first step; the released code leaves its weights alone.
6. Dropout draws anew when a module runs again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from modulewise.parts.delayed import Delayed


class Ddg(Delayed):
    """Modules that keep their old weights with their old inputs.

    Args:
        trunk: the network, cut.
    """

    def kept(self, k: int) -> Iterator[Tensor]:
        """Copies of the weights. Buffers are left out: in train mode BatchNorm, the only layer that
        has any, does not read its own."""
        yield from (p.detach().clone() for p in self.trunk[k].parameters())

    @contextmanager
    def as_then(self, k: int, kept: list[Tensor]) -> Iterator[None]:
        """The module has its old weights, to the end of the backward pass; the gradient goes to the
        parameters, which then are as before."""
        parameters = list(self.trunk[k].parameters())
        today = [p.data for p in parameters]
        for p, then in zip(parameters, kept, strict=True):
            p.data = then
        try:
            yield
        finally:
            for p, now in zip(parameters, today, strict=True):
                p.data = now
