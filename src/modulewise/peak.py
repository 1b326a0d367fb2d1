"""Peak memory of a run on a CPU: what is alive between two steps, plus the largest growth in a measured one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor

from . import measure

if TYPE_CHECKING:
    from .trainer import Trainer


@contextmanager
def measured(trainer: Trainer) -> Iterator[None]:
    """Measures the step made inside: how much the allocator's live bytes grow, gradients included."""
    trainer.optimiser.zero_grad()
    with measure.cpu_peak() as growth:
        yield
    trainer.progress.growth = max(trainer.progress.growth, growth.bytes)


def held(trainer: Trainer) -> Iterator[Tensor]:
    """What is alive between two steps: weights, buffers, the optimiser's state, images, and states that wait for their module."""
    yield from trainer.method.parameters()
    yield from trainer.method.buffers()
    yield from (v for s in trainer.optimiser.inner.state.values() for v in s.values() if isinstance(v, Tensor))
    splits = (trainer.data.train, trainer.data.test, trainer.data.val)
    yield from (images for s in splits if s for images in (s.x, s.y))
    if trainer.asynchronous:
        yield from trainer.asynchronous.held()
