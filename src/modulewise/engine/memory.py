"""Peak memory of training: the largest sum of live tensor bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modulewise.optim import ModuleOptimizers


def live_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages behind some tensors."""
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values()
    )


@dataclass
class Peak:
    """Growth of the allocator's live bytes above what was alive when the measurement began."""

    bytes: int = 0


@contextmanager
def cpu_peak() -> Iterator[Peak]:
    """Largest growth of the CPU allocator's live bytes inside the block, from torch's own
    allocation events.

    Memory that was allocated before the block does not count, nor does freeing it.
    """
    peak = Peak()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's library is chatty
    with torch.autograd.profiler.profile(use_kineto=True, profile_memory=True) as prof:
        yield peak
    live: dict[int, int] = {}
    total = 0
    for address, size in _memory_events(prof):
        if size > 0:
            live[address] = size
            total += size
            peak.bytes = max(peak.bytes, total)
        else:
            total -= live.pop(address, 0)


def _memory_events(prof: torch.autograd.profiler.profile) -> Iterator[tuple[int, int]]:
    """(address, bytes) of every allocation (positive) and release (negative) on the CPU, in order
    of time."""
    from torch._C._profiler import _EventType

    results: Any = prof.kineto_results
    stack = list(results.experimental_event_tree())
    found = []
    while stack:
        event = stack.pop()
        stack.extend(event.children)
        if event.tag == _EventType.Allocation and event.extra_fields.device.type == "cpu":
            found.append(
                (event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size)
            )
    for _, address, size in sorted(found, key=lambda e: e[0]):
        yield address, size


class MemoryProbe:
    """Peak memory of a run. On a GPU the allocator keeps count; on a CPU it is what is alive
    between two steps, plus the largest growth within a measured one, gradients included.

    Args:
        device: of the run.

    Attributes:
        peak: largest sum of live tensor bytes so far.
        growth: largest growth of live bytes in a measured step of this phase; on a CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak = self.growth = 0
        self.warm = False

    def begin_phase(self) -> None:
        """Forget the growth of the phase before."""
        self.growth, self.warm = 0, False

    def begin_epoch(self) -> None:
        """Start the allocator's count anew, on a GPU."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    @contextmanager
    def step(self, optimizers: ModuleOptimizers) -> Iterator[None]:
        """Measures the step made inside, on a CPU."""
        if self.device.type == "cuda":
            yield
            return
        optimizers.zero_grad()
        with cpu_peak() as growth:
            yield
        self.growth = max(self.growth, growth.bytes)

    def end_epoch(self, held: Iterable[Tensor], last: bool) -> None:
        """Take the epoch's figure.

        Args:
            held: what is alive between two steps.
            last: whether the run has no further epoch. The first epoch of a phase holds cuDNN's
                search for algorithms and counts only where there is no other.
        """
        if self.device.type == "cuda" and (self.warm or last):
            self.peak = max(self.peak, torch.cuda.max_memory_allocated(self.device))
        elif self.growth:
            self.peak = max(self.peak, live_bytes(held) + self.growth)
        self.warm = True
