"""Backpropagation whose gradients arrive late, so that no module waits for a later one.

In a step module k gives its output for the present images and learns from those of d = K - 1 - k
steps before, whose gradient is there by now:

    g_k^t = J_w^T e_k^{t-1},   e_{k-1}^t = J_x^T e_k^{t-1}
    J_w, J_x of f_k(x; w) at the input x = h_{k-1}^{t-d}; the last module learns the task's loss

so that e_k^{t-1}, which module k + 1 made in the step before, belongs to the images of step t - d.
Before the first step stand images whose gradient is zero. What is kept between two steps are
tensors, never graphs: d old inputs a module, and one gradient a cut.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from modulewise.method import Batch, Feedback, Local, Loss, Method, State
from modulewise.models.network import CutNetwork
from modulewise.parts.history import History
from modulewise.parts.statistics import frozen_statistics


class Delayed(Method):
    """Modules that learn from the images of earlier steps; a single one learns by backpropagation.

    The pass on the present images, which leaves no graph, is the one that BatchNorm counts.

    Args:
        trunk: the network, cut.
    """

    joint_only = True
    feedback: Feedback = "later"
    graphable = False
    passes = 2

    def __init__(self, trunk: CutNetwork) -> None:
        super().__init__(trunk)
        self.past = nn.ModuleList(History(self.k - 1 - k) for k in range(self.k))
        self.returned = nn.ModuleList(History(1) for _ in range(self.k - 1))
        if self.k == 1:
            self.feedback, self.passes = "none", 1

    @property
    def history(self) -> int:
        """K - 1: the first module learns latest."""
        return self.k - 1

    def kept(self, k: int) -> Iterator[Tensor]:
        """What module k keeps of a step beside its input."""
        yield from ()

    def as_then(self, k: int, kept: list[Tensor]) -> AbstractContextManager[None]:
        """Inside, module k is what it was when it kept this."""
        return nullcontext()

    def local(self, k: int, batch: Batch, state: State) -> Local:
        """One loss a module: the task's of the last, and of any other one that carries the gradient
        that has come back."""
        if k == self.k - 1:
            scores = yield from self._learn(k, batch, state[0])
            return (scores,)
        past = self._past(k)
        if past.empty:
            past.begin(state[0], *self.kept(k))
        yield from self._learn_late(k)
        past.keep(state[0], *self.kept(k))
        with torch.no_grad():
            return (self.trunk[k](state[0]),)

    def _learn(self, k: int, batch: Batch, x: Tensor) -> Generator[Loss, None, Tensor]:
        """The last module, on what enters it now."""
        x = x.detach().requires_grad_(k > 0)
        scores = self.trunk[k](x)
        yield Loss(self.task.loss(scores, batch.y), self.of_module(k), f"module_{k}")
        self._send_back(k, x)
        return scores.detach()

    def _learn_late(self, k: int) -> Iterator[Loss]:
        """Any other module, on what entered it K - 1 - k steps ago."""
        x, *kept = self._past(k).oldest()
        x = x.detach().requires_grad_(k > 0)
        with self.as_then(k, kept):
            with frozen_statistics(self.trunk[k]):
                h = self.trunk[k](x)
            yield Loss((h * self._come_back(k, h)).sum(), self.of_module(k), f"module_{k}", True)
        self._send_back(k, x)

    def _past(self, k: int) -> History:
        return cast(History, self.past[k])

    def _come_back(self, k: int, h: Tensor) -> Tensor:
        """The gradient that came back in the step before for an output of module k."""
        returned = cast(History, self.returned[k])
        if returned.empty:
            returned.begin(torch.zeros_like(h))
        return returned.oldest()[0]

    def _send_back(self, k: int, x: Tensor) -> None:
        """Hand the gradient of what entered module k to the module before, for the next step."""
        if k > 0:
            assert x.grad is not None
            cast(History, self.returned[k - 1]).keep(x.grad)
