"""A whole training step as one CUDA graph: recorded once, then replayed without Python between its
kernels.

A graph reads and writes fixed memory. The batch is copied into tensors of its own, the learning
rate is a tensor, gradients live in the graph's pool, and torch's random stream of the device is
advanced by every replay. Steps before the recording, and batches of another size, run as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from modulewise.errors import memory_short
from modulewise.method import Batch, Method

log = logging.getLogger(__name__)
Step = Callable[[Batch], dict[str, Tensor]]
WARM = 3
"""Number of steps that run on a stream of their own before the recording: they make the optimiser's
state and choose algorithms."""


def graphed(step: Step, method: Method, device: torch.device, where: object) -> Step:
    """The step, replayed as a graph on a GPU; the step itself, and one line that says why, where
    it cannot be recorded.

    Args:
        step: one step on a batch; the losses by name.
        method: whose step it is.
        device: of the run.
        where: for the line.
    """
    if device.type != "cuda":
        reason = f"a graph needs a GPU, the run is on {device.type}"
    elif not method.graphable or method.two_views:
        reason = f"a step of {type(method).__name__} cannot be recorded"
    else:
        return Graphed(step, device, where)
    log.warning(f"{where}: cuda_graphs: steps run as they are: {reason}")
    return step


class Graphed:
    """A step that is recorded after some steps, and then replayed.

    Args:
        step: one step on a batch; the losses by name.
        device: a GPU.
        where: for the line that says that recording failed.
    """

    def __init__(self, step: Step, device: torch.device, where: object) -> None:
        self.step, self.device, self.where = step, device, where
        self.warm, self.failed = 0, False
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch: Batch | None = None
        self.values: dict[str, Tensor] = {}

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """One step."""
        if self.failed:
            return self.step(batch)
        if self.batch is None or (not self.graph and len(batch.x) > len(self.batch.x)):
            self.warm = 0
            x, y, image, index = (t.clone() for t in _tensors(batch))
            self.batch = Batch(x, y, image, index)
        if batch.x.shape != self.batch.x.shape:
            return self.step(batch)
        for mine, given in zip(_tensors(self.batch), _tensors(batch), strict=True):
            mine.copy_(given)
        if self.warm < WARM:
            self.warm += 1
            return self._aside(self.batch)
        if self.graph is None and not self._record(self.batch):
            return self.step(batch)
        assert self.graph
        self.graph.replay()
        return {name: value.clone() for name, value in self.values.items()}

    def _aside(self, batch: Batch) -> dict[str, Tensor]:
        """A step on a stream of its own."""
        stream, main = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        stream.wait_stream(main)
        with torch.cuda.stream(stream):
            values = self.step(batch)
        main.wait_stream(stream)
        for value in values.values():
            value.record_stream(main)
        return values

    def _record(self, batch: Batch) -> bool:
        """Record a step, which does not run; whether it could be."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.values = self.step(batch)
        except Exception as error:
            if memory_short(error):
                raise
            self.failed, self.batch, self.values = True, None, {}
            reason = str(error).strip().partition("\n")[0]
            log.warning(f"{self.where}: cuda_graphs: steps run as they are: {reason}")
            return False
        self.graph = graph
        return True


def _tensors(batch: Batch) -> tuple[Tensor, ...]:
    return batch.x, batch.y, batch.image, batch.index
