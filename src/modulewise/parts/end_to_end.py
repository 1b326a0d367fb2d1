"""End-to-end backpropagation as one module, whichever way its forward pass keeps what its backward
pass needs."""

from __future__ import annotations

from torch import Tensor

from modulewise.method import Batch, Local, Loss, Method, State


class EndToEnd(Method):
    """min L(net(x), y) over all parameters at once; `forward_pass` is what a method changes."""

    single = True
    locked = "later"

    @property
    def horizon(self) -> int:
        """The whole net."""
        return self.k

    def forward_pass(self, x: Tensor) -> Tensor:
        """Scores (B outputs) of a training step for normalised images (B C H W)."""
        return self.predict(x)

    def local(self, k: int, batch: Batch, state: State) -> Local:
        """The whole net is module 0."""
        scores = self.forward_pass(state[0])
        yield Loss(self.task.loss(scores, batch.y), self.of_module(0), "module_0")
        return (scores.detach(),)
