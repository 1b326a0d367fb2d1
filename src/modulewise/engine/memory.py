"""What a run costs: floating-point operations, parameters, and the largest sum of live tensor
bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modulewise.engine import memory

if TYPE_CHECKING:
    from modulewise.engine.trainer import Trainer


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


@contextmanager
def measured(trainer: Trainer) -> Iterator[None]:
    """Measures the step made inside: how much the allocator's live bytes grow, gradients
    included."""
    trainer.optimiser.zero_grad()
    with memory.cpu_peak() as growth:
        yield
    trainer.progress.growth = max(trainer.progress.growth, growth.bytes)


def held(trainer: Trainer) -> Iterator[Tensor]:
    """What is alive between two steps: weights, buffers, the optimiser's state, images, and states
    that wait for their module."""
    yield from trainer.method.parameters()
    yield from trainer.method.buffers()
    yield from (
        v
        for s in trainer.optimiser.inner.state.values()
        for v in s.values()
        if isinstance(v, Tensor)
    )
    splits = (trainer.data.train, trainer.data.test, trainer.data.val)
    yield from (images for s in splits if s for images in (s.x, s.y))
    if trainer.asynchronous:
        yield from trainer.asynchronous.held()
