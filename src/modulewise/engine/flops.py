"""Floating-point operations of training and of inference, and numbers of parameters."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from modulewise.method import Batch, Loss, Method, State
from modulewise.parts.recompute import RecomputedStages


@dataclass(frozen=True)
class Flops:
    """Per image, forward and backward, a multiply-accumulate counting two."""

    trunk: float
    """Of the K isolated modules alone."""
    helpers: float
    """Of everything else a step computes."""
    inference_macs: float
    """Multiply-accumulates of the deployed net for one image."""


def flops(method: Method, image: tuple[int, ...], batch_size: int) -> Flops:
    """Operations of joint training; as `by_phase`."""
    return by_phase(method, image, batch_size, [range(method.k)])[0]


def by_phase(
    method: Method,
    image: tuple[int, ...],
    batch_size: int,
    phases: Sequence[range],
    entered: Sequence[int] = (),
) -> list[Flops]:
    """Count the operations of training and of inference, on a copy without data (torch's counter:
    convolutions, matrix products), for every phase of a schedule.

    Args:
        method: the method.
        image: shape of one image (C, H, W).
        batch_size: images in a step; contrastive losses grow with it.
        phases: which modules learn in each phase.
        entered: the first module that a step of each phase runs; the net's first if not given.
    """
    ghost = copy.deepcopy(method).to("meta")
    x = torch.empty(batch_size, *image, device="meta")
    y = method.task.placeholder(batch_size, image, "meta")
    batch = Batch(x, y, x, y, lambda: x)
    ghost.trace(x)
    counted = []
    for trained, first in zip(phases, entered or [0] * len(phases), strict=True):
        with torch.no_grad():
            h, state = x, ghost.initial_state(x) if first else None
            for k in range(first):
                h, state = ghost.trunk[k](h), ghost.forward_module(k, state or ())
        with _counting() as step:
            for loss in _losses(ghost, batch, trained, first, state):
                loss.value.backward()
        with _counting() as trunk:
            for k in range(first, trained.stop):
                with torch.set_grad_enabled(k in trained):  # without recomputation
                    h = nn.Sequential.forward(cast(nn.Sequential, ghost.trunk[k]), h)
                if k in trained:
                    h.sum().backward()
                h = h.detach()
        counted.append((step.get_total_flops(), trunk.get_total_flops()))
    ghost.eval()
    with _counting() as inference, torch.no_grad():
        ghost.predict(x[:1])
    macs = inference.get_total_flops() / 2
    return [
        Flops(own / batch_size, max(0, total - own) / batch_size, macs) for total, own in counted
    ]


def mean(phases: Sequence[Flops], epochs: Sequence[int]) -> Flops:
    """Operations per image of a run of several phases.

    Args:
        phases: operations of each.
        epochs: of each; if there are none at all, phases count alike.
    """
    weights = epochs if any(epochs) else [1] * len(phases)
    each = list(zip(phases, weights, strict=True))
    return Flops(
        sum(f.trunk * n for f, n in each) / sum(weights),
        sum(f.helpers * n for f, n in each) / sum(weights),
        phases[0].inference_macs,
    )


def module_flops(method: Method, image: tuple[int, ...]) -> list[float]:
    """Operations of carrying one image through each module and what stands before it, forward only;
    counted on a copy without data.

    Args:
        method: the method.
        image: shape of one image (C, H, W).
    """
    ghost = copy.deepcopy(method).to("meta").eval()
    state, out = ghost.initial_state(torch.empty(1, *image, device="meta")), []
    for k in range(ghost.k):
        with _counting() as crossing, torch.no_grad():
            state = ghost.forward_module(k, state)
        out.append(crossing.get_total_flops())
    return out


def step_flops(method: Method, image: tuple[int, ...], batch_size: int) -> float:
    """A training step's operations per image, about: three times those of its forward pass, which
    alone is counted; quick.

    Args:
        method: on the meta device; its gradients are touched if it needs them to go on or
            may recompute, and its BatchNorms do not learn any more.
        image: shape of one image (C, H, W).
        batch_size: images in a step.
    """
    x = torch.empty(batch_size, *image, device="meta")
    y = method.task.placeholder(batch_size, image, "meta")
    again = any(isinstance(part, RecomputedStages) for part in method.trunk)
    both = method.joint_only or not method.whole_modules or again
    for norm in filter(lambda m: isinstance(m, nn.modules.batchnorm._BatchNorm), method.modules()):
        norm.eval()  # half the time; neither way has products to count
    with _counting() as counted:
        for loss in method.losses(Batch(x, y, x, y, lambda: x)):
            if both:
                loss.value.backward()
    return counted.get_total_flops() * (1 if both else 3) / batch_size


def _losses(
    method: Method, batch: Batch, trained: range, first: int, state: State | None
) -> Iterator[Loss]:
    """Losses of a step that runs the modules from the first on, which is given this state, or
    begins with the images."""
    if trained == range(method.k):
        yield from method.losses(batch)
        return
    with torch.no_grad():
        state = method.initial_state(batch.x) if state is None else state
        for k in range(first, trained.start):
            state = method.forward_module(k, state)
    for k in trained:
        state = yield from method.local(k, batch, state)


def _counting() -> FlopCounterMode:
    return FlopCounterMode(display=False)


def parameters(parts: Iterable[nn.Module]) -> int:
    """Number of distinct parameters."""
    return sum(p.numel() for p in {id(p): p for m in parts for p in m.parameters()}.values())
