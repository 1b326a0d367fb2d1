"""End-to-end backpropagation: one module, the task's own loss. The baseline.

Deviations: none.
"""

from __future__ import annotations

from modulewise.method import Batch, Local, Loss, Method, State


class Backprop(Method):
    """min L(net(x), y) over all parameters at once."""

    single = True

    @property
    def horizon(self) -> int:
        """The whole net."""
        return self.k

    def local(self, k: int, batch: Batch, state: State) -> Local:
        """The whole net is module 0."""
        scores = self.predict(state[0])
        yield Loss(self.task.loss(scores, batch.y), self.of_module(0), "module_0")
        return (scores.detach(),)
