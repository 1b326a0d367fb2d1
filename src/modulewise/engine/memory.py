"""Peak memory of training: the largest sum of live tensor bytes, and operators' workspace apart."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modulewise.engine import distributed
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
    peak = largest(_events(prof, torch.device(device).type))
    found.live, found.whole = peak.live, peak.whole


class Event(NamedTuple):
    """An allocation (bytes above zero) or a release."""

    time: int
    address: int
    bytes: int
    operator: int
    """Number of the outermost operator that it happened in; -1 if in none."""
    total: int
    """Bytes that the allocator has given out, after it."""


def _events(prof: torch.autograd.profiler.profile, kind: str) -> list[Event]:
    """Allocations and releases on devices of a kind, in order of time."""
    from torch._C._profiler import _EventType

    results: Any = prof.kineto_results
    stack = [(event, -1) for event in results.experimental_event_tree()]
    found = []
    while stack:
        event, operator = stack.pop()
        if event.tag == _EventType.Allocation:
            f = event.extra_fields
            if f.device.type == kind:
                time = event.start_time_ns
                found.append(Event(time, f.ptr, f.alloc_size, operator, f.total_allocated))
        elif operator < 0 and event.name.startswith("aten::"):
            operator = event.correlation_id
        stack.extend((child, operator) for child in event.children)
    return sorted(found, key=lambda e: e.time)


def largest(events: Sequence[Event]) -> Peak:
    """Largest sums of live bytes above those before the first event.

    The sums are the allocator's own. Those of the events would be too large on a GPU: its backward
    passes run in a thread of their own, and not all of what is released there has an event.

    Args:
        events: in order of time.
    """
    peak = Peak()
    workspace, known = _workspace(events), set[int]()
    aside = older = 0
    for n, event in enumerate(events):
        if event.bytes > 0:
            known.add(event.address)
        elif event.address in known:
            known.remove(event.address)
        else:  # allocated before
            older -= event.bytes
        if n in workspace:
            aside += event.bytes
        whole = event.total - (events[0].total - events[0].bytes) + older
        peak.raise_to(whole - aside, whole)
    return peak


def _workspace(events: Sequence[Event]) -> set[int]:
    """Numbers of the events of blocks that do not outlive the operator that allocated them."""
    born: dict[int, int] = {}
    found: set[int] = set()
    for n, event in enumerate(events):
        if event.bytes > 0:
            born[event.address] = n
            continue
        first = born.pop(event.address, None)
        if first is not None and events[first].operator == event.operator >= 0:
            found |= {first, n}
    return found


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
        self.peak.raise_to(*map(int, distributed.largest(self.peak.live, self.peak.whole)))
        self.warm = True

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on."""
        return {"peak": asdict(self.peak), "growth": asdict(self.growth)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.peak, self.growth = Peak(**saved["peak"]), Peak(**saved["growth"])
