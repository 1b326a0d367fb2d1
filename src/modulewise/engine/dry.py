"""A training step without data, memory or time: its tensors have shapes and no content.

What is alive when, and how many operations there are, is what the real step would show: the same on
every machine, for any batch size.
"""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from modulewise import schedules
from modulewise.config.training import TrainConfig
from modulewise.engine.device import precision
from modulewise.method import Batch, Method
from modulewise.optim import ModuleOptimizers
from modulewise.task import Task


class Meter(TorchDispatchMode):
    """Counts what operators do inside it.

    Attributes:
        live: bytes of tensors that are alive.
        peak: the most of them since the last lap.
        flops: of convolutions and matrix products since then, a multiply-accumulate counting two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.flops = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, op: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and count it."""
        out = op(*args, **(kwargs or {}))
        if count := flop_registry.get(op._overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.hold(tensor)
        return out

    def hold(self, tensor: Tensor) -> None:
        """Count a tensor's storage for as long as it lives, once."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return

        def gone(_: object) -> None:
            del self._alive[key]
            self.live -= size

        self._alive[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)

    def lap(self) -> Lap:
        """What was counted since the last lap, which begins anew."""
        found = Lap(self.flops, self.live, self.peak)
        self.flops, self.peak = 0, self.live
        return found


class Lap(NamedTuple):
    """A stretch of a step."""

    cost: float
    """Operations, or seconds."""
    live: int = 0
    """Bytes that are alive at its end."""
    peak: int = 0
    """The most bytes that were alive in it."""


@contextmanager
def without_data(method: Method) -> Iterator[Method]:
    """A copy of a method whose tensors, and all that are made inside, have no content."""
    ghost = copy.deepcopy(method).to("meta")
    collecting = gc.isenabled()
    gc.disable()  # when it runs is chance
    try:
        with FakeTensorMode(), torch.device("cpu"), torch.random.fork_rng([]):
            ghost._apply(lambda t: torch.empty(t.shape, dtype=t.dtype, device="cpu"))
            yield ghost.train()
    finally:
        if collecting:
            gc.enable()


def a_batch(
    task: Task, image: tuple[int, ...], size: int, device: torch.device | str = "cpu"
) -> Batch:
    """A batch of noise.

    Args:
        task: what the net is trained for.
        image: shape of one image (C, H, W).
        size: number of images.
        device: that holds it.
    """
    x = torch.rand(size, *image, device=device)
    return Batch(
        x,
        task.placeholder(size, image, device),
        torch.rand(size, *image, device=device),
        torch.arange(size, device=device),
        lambda: torch.rand(size, *image, device=device),
    )


def peak_bytes(method: Method, training: TrainConfig, image: tuple[int, ...]) -> int:
    """Peak memory of a run under the schedule `joint`: the largest sum of live tensor bytes in a
    step that finds the optimiser's state there, and what is kept of earlier steps, on a CPU.

    Args:
        method: on any device; it stays as it is.
        training: of the run; a device has its `share` of a step's images.
        image: shape of one image (C, H, W).
    """
    with without_data(method) as ghost:
        schedule = schedules.build(training, ghost.k, 1, 0)
        optimizers = ModuleOptimizers(ghost, training)
        for parameter in ghost.parameters():
            parameter.grad = torch.empty_like(parameter)
        optimizers.step()
        optimizers.zero_grad()
        under = precision(training, "cpu")
        for _ in range(method.history):
            earlier = a_batch(ghost.task, image, training.share)
            schedule.step(ghost, earlier, optimizers, under)
        batch = a_batch(ghost.task, image, training.share)
        given = [batch.x, batch.y, batch.image, batch.index]
        with Meter() as meter:
            held = [*ghost.parameters(), *ghost.buffers(), *optimizers.held(), *given]
            for tensor in held:
                meter.hold(tensor)
            schedule.step(ghost, batch, optimizers, under)
        return meter.peak


class Clock(Protocol):
    """What gives laps: a `Meter`, or a clock."""

    def lap(self) -> Lap:
        """What there was since the last lap, which begins anew."""


class StageLap(NamedTuple):
    """A stage by itself."""

    before: int
    """Bytes that are alive before it."""
    forward: Lap
    backward: Lap
    passed: int
    """Bytes of its output."""


def stage_laps(
    stages: Iterable[nn.Module], batch: Batch, training: TrainConfig, clock: Clock
) -> list[StageLap]:
    """Each stage by itself, forward and backward.

    Args:
        stages: in order; gradients are dropped.
        batch: on their device.
        training: has the precision.
        clock: gives the laps.
    """
    under = precision(training, batch.x.device.type)
    out, h = list[StageLap](), batch.x
    for n, stage in enumerate(stages):
        given = h.detach().requires_grad_(n > 0)
        before = clock.lap().live
        with under():
            h = stage(given)
        forward = clock.lap()
        h.backward(torch.ones_like(h))
        backward = clock.lap()
        h = h.detach()
        del given
        stage.zero_grad(set_to_none=True)
        out.append(StageLap(before, forward, backward, h.untyped_storage().nbytes()))
    return out


def loss_laps(
    method: Method, batch: Batch, training: TrainConfig, clock: Clock
) -> dict[int, tuple[int, Lap]]:
    """All losses of a step, forward and backward.

    Args:
        method: in train mode; gradients are dropped.
        batch: on its device.
        training: has the precision.
        clock: gives the laps.

    Returns:
        Module -> bytes alive before its first loss, and the lap of all its losses; a loss counts to
        the last module that it may reach.
    """
    under = precision(training, batch.x.device.type)
    losses, out = method.losses(batch), dict[int, tuple[int, Lap]]()
    while True:
        before = clock.lap().live
        with under():
            loss = next(losses, None)
        if loss is None:
            break
        loss.value.backward()
        k = max(int(group.rpartition("/")[2]) for group in loss.groups)
        del loss
        found, (start, earlier) = clock.lap(), out.get(k, (before, Lap(0)))
        out[k] = start, Lap(found.cost + earlier.cost, found.live, max(found.peak, earlier.peak))
    method.zero_grad(set_to_none=True)
    return out
