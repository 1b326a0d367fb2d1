"""Peak memory of training: the largest sum of live tensor bytes, and operators' workspace apart."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modulewise.method import Batch
from modulewise.optim import ModuleOptimizers


def live_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages behind some tensors."""
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values()
    )


@dataclass
class Peak:
    """Largest sums of bytes.

    Attributes:
        live: of tensors: blocks that outlive the operator that allocated them.
        whole: of all blocks, an operator's own workspace included.
    """

    live: int = 0
    whole: int = 0

    def raise_to(self, live: int, whole: int) -> None:
        """Take larger sums."""
        self.live, self.whole = max(self.live, live), max(self.whole, whole)


@contextmanager
def growth(device: torch.device | str = "cpu") -> Iterator[Peak]:
    """Growth of the allocator's bytes inside the block, from torch's own allocation events.

    What one outermost `aten` operator allocates and releases again is its workspace: a copy in
    another layout, say. Memory that was allocated before the block does not count, nor does
    freeing it.

    Args:
        device: whose allocator.
    """
    found = Peak()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's library is chatty
    with torch.autograd.profiler.profile(use_kineto=True, profile_memory=True) as prof:
        yield found
    events = _events(prof, torch.device(device).type)
    found.whole = _largest(events)
    found.live = _largest(_outliving(events))


class _Event(NamedTuple):
    """An allocation (bytes above zero) or a release."""

    time: int
    address: int
    bytes: int
    operator: int
    """Number of the outermost operator that it happened in; -1 if in none."""


def _events(prof: torch.autograd.profiler.profile, kind: str) -> list[_Event]:
    """Allocations and releases on devices of a kind, in order of time."""
    from torch._C._profiler import _EventType

    results: Any = prof.kineto_results
    stack = [(event, -1) for event in results.experimental_event_tree()]
    found = []
    while stack:
        event, operator = stack.pop()
        if event.tag == _EventType.Allocation:
            fields = event.extra_fields
            if fields.device.type == kind:
                found.append(_Event(event.start_time_ns, fields.ptr, fields.alloc_size, operator))
        elif operator < 0 and event.name.startswith("aten::"):
            operator = event.correlation_id
        stack.extend((child, operator) for child in event.children)
    return sorted(found, key=lambda e: e.time)


def _outliving(events: list[_Event]) -> list[_Event]:
    """The events of blocks that outlive the operator that allocated them."""
    born: dict[int, int] = {}
    workspace: set[int] = set()
    for n, event in enumerate(events):
        if event.bytes > 0:
            born[event.address] = n
            continue
        first = born.pop(event.address, None)
        if first is not None and events[first].operator == event.operator >= 0:
            workspace |= {first, n}
    return [event for n, event in enumerate(events) if n not in workspace]


def _largest(events: Iterable[_Event]) -> int:
    """Largest sum of live bytes."""
    live: dict[int, int] = {}
    total = peak = 0
    for event in events:
        if event.bytes > 0:
            live[event.address] = event.bytes
            total += event.bytes
            peak = max(peak, total)
        else:
            total -= live.pop(event.address, 0)
    return peak


class MemoryProbe:
    """Peak memory of a run: what is alive between two steps, the batch, and the largest growth
    within a measured step, gradients included. Images that wait on the device for their turn do not
    count.

    On a GPU the allocator's own peak, over all steps, tells the whole with its workspace.

    Args:
        device: of the run.

    Attributes:
        peak: of the run so far.
        growth: within a measured step of this phase, the batch included.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak, self.growth = Peak(), Peak()
        self.warm = False

    def begin_phase(self) -> None:
        """Forget the growth of the phase before."""
        self.growth, self.warm = Peak(), False

    def begin_epoch(self) -> None:
        """Start the allocator's count anew, on a GPU."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    @contextmanager
    def step(self, optimizers: ModuleOptimizers, batch: Batch) -> Iterator[None]:
        """Measures the step made inside."""
        optimizers.zero_grad()
        given = live_bytes([batch.x, batch.y, batch.image, batch.index])
        with growth(self.device) as grown:
            yield
        self.growth.raise_to(given + grown.live, given + grown.whole)

    def end_epoch(self, held: Iterable[Tensor], images: Iterable[Tensor], last: bool) -> None:
        """Take the epoch's figure.

        Args:
            held: what is alive between two steps but for `images`.
            images: data that wait on the device.
            last: whether the run has no further epoch. The first epoch of a phase holds cuDNN's
                search for algorithms and counts only where there is no other.
        """
        if self.growth.whole:
            between = live_bytes(held)
            self.peak.raise_to(between + self.growth.live, between + self.growth.whole)
        if self.device.type == "cuda" and (self.warm or last):
            waiting = live_bytes(images)
            whole = torch.cuda.max_memory_allocated(self.device) - waiting
            self.peak.raise_to(0, whole)
        self.warm = True

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on."""
        return {"peak": asdict(self.peak), "growth": asdict(self.growth)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.peak, self.growth = Peak(**saved["peak"]), Peak(**saved["growth"])
