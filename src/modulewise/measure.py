"""What a run costs: floating-point operations, parameters, and the largest sum of live tensor bytes."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .method import Batch, Loss, Method


@dataclass(frozen=True)
class Flops:
    """Per image, forward and backward, a multiply-accumulate counting two; under a schedule of phases, their mean."""

    trunk: float
    """Of the K isolated modules alone."""
    helpers: float
    """Of everything else a step computes."""
    inference_macs: float
    """Multiply-accumulates of the deployed net for one image."""


def flops(method: Method, image: tuple[int, ...], batch_size: int, phases: Sequence[range] | None = None) -> Flops:
    """Count the operations of training and of inference, on a copy without data (torch's counter: convolutions, matrix products).

    Args:
        method: the method.
        image: shape of one image (C, H, W).
        batch_size: images in a step; contrastive losses grow with it.
        phases: which modules learn in each phase of the schedule; all of them in one phase if not given.
    """
    ghost = copy.deepcopy(method).to("meta")
    x = torch.empty(batch_size, *image, device="meta")
    y = torch.empty(batch_size, dtype=torch.long, device="meta")
    batch = Batch(x, y, x, y, lambda: x)
    total = own = 0
    phases = phases or [range(method.k)]
    for trained in phases:
        with _counting() as step:
            for loss in _losses(ghost, batch, trained):
                loss.value.backward()
        with _counting() as trunk:
            h = x
            for k in range(trained.stop):
                with torch.set_grad_enabled(k in trained):
                    h = ghost.trunk[k](h)
                if k in trained:
                    h.sum().backward()
                h = h.detach()
        total, own = total + step.get_total_flops(), own + trunk.get_total_flops()
    ghost.eval()
    with _counting() as inference, torch.no_grad():
        ghost.predict(x[:1])
    images = batch_size * len(phases)
    return Flops(own / images, max(0, total - own) / images, inference.get_total_flops() / 2)


def crossing_flops(method: Method, image: tuple[int, ...]) -> list[float]:
    """Operations of carrying one image through each module and what stands before it, forward only; counted on a copy without data.

    Args:
        method: the method.
        image: shape of one image (C, H, W).
    """
    ghost = copy.deepcopy(method).to("meta").eval()
    state, out = ghost.start(torch.empty(1, *image, device="meta")), []
    for k in range(ghost.k):
        with _counting() as crossing, torch.no_grad():
            state = ghost.cross(k, state)
        out.append(crossing.get_total_flops())
    return out


def step_flops(method: Method, image: tuple[int, ...], batch_size: int) -> float:
    """A training step's operations per image, about: three times those of its forward pass, which alone is counted; quick.

    Args:
        method: on the meta device; its gradients are touched if it needs them to go on, and its BatchNorms do not learn any more.
        image: shape of one image (C, H, W).
        batch_size: images in a step.
    """
    x = torch.empty(batch_size, *image, device="meta")
    y = torch.empty(batch_size, dtype=torch.long, device="meta")
    for norm in filter(lambda m: isinstance(m, nn.modules.batchnorm._BatchNorm), method.modules()):
        norm.eval()  # half the time; neither way has products to count
    with _counting() as counted:
        for loss in method.losses(Batch(x, y, x, y, lambda: x)):
            if method.joint_only:
                loss.value.backward()
    return counted.get_total_flops() * (1 if method.joint_only else 3) / batch_size


def _losses(method: Method, batch: Batch, trained: range) -> Iterator[Loss]:
    if trained == range(method.k):
        yield from method.losses(batch)
        return
    with torch.no_grad():
        state = method.start(batch.x)
        for k in range(trained.start):
            state = method.cross(k, state)
    for k in trained:
        state = yield from method.local(k, batch, state)


def _counting() -> FlopCounterMode:
    return FlopCounterMode(display=False)


def parameters(parts: Iterable[nn.Module]) -> int:
    """Number of distinct parameters."""
    return sum(p.numel() for p in {id(p): p for m in parts for p in m.parameters()}.values())


def live_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages behind some tensors."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@dataclass
class Peak:
    """Growth of the allocator's live bytes above what was alive when the measurement began."""

    bytes: int = 0


@contextmanager
def cpu_peak() -> Iterator[Peak]:
    """Largest growth of the CPU allocator's live bytes inside the block, from torch's own allocation events.

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
    """(address, bytes) of every allocation (positive) and release (negative) on the CPU, in order of time."""
    from torch._C._profiler import _EventType

    results: Any = prof.kineto_results
    stack = list(results.experimental_event_tree())
    found = []
    while stack:
        event = stack.pop()
        stack.extend(event.children)
        if event.tag == _EventType.Allocation and event.extra_fields.device.type == "cpu":
            found.append((event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size))
    for _, address, size in sorted(found, key=lambda e: e[0]):
        yield address, size
