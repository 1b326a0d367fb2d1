"""Activations that are not kept for the backward pass, but computed again when it needs them
(gradient checkpointing, Chen et al., arXiv 1604.06174).

The second pass stops at the last tensor that is needed, draws the random numbers of the first, and
leaves BatchNorm's running statistics as the first made them: weights and statistics are those of
the plain passes, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from modulewise.parts.statistics import frozen_statistics

Mode = AbstractContextManager[Any]


def segment(part: nn.Module, x: Tensor, keep: Sequence[Any] = ()) -> Tensor:
    """part(x), of which the input alone is kept, and what these operations of torch give."""
    return _again(part, part, x, keep)


def norms(run: Callable[[Tensor], Tensor], norm: nn.Module, x: Tensor) -> Tensor:
    """run(x), of which the input alone is kept.

    Args:
        run: begins with a BatchNorm and ends with a convolution, which is not run again: of it no
            more than the input is needed. Nothing in it is random.
        norm: the BatchNorm.
        x: its input.
    """
    return _again(run, norm, x, random=False)


class RecomputedStages(nn.Sequential):
    """A module of stages of which each but the last keeps its input alone.

    Attributes:
        plain: number of last parts that keep all: a stage, or a stage and the net's head.
    """

    plain = 1

    def forward(self, x: Tensor) -> Tensor:
        """Run the stages."""
        parts = list(self)
        for part in parts[: -self.plain]:
            x = segment(part, x)
        for part in parts[-self.plain :]:
            x = part(x)
        return x


def _again(
    run: Callable[[Tensor], Tensor],
    part: nn.Module,
    x: Tensor,
    keep: Sequence[Any] = (),
    random: bool = True,
) -> Tensor:
    if not torch.is_grad_enabled():
        return run(x)
    return checkpoint(
        run,
        x,
        use_reentrant=False,
        preserve_rng_state=random,
        context_fn=partial(_passes, part, keep),
    )


def _passes(part: nn.Module, keep: Sequence[Any]) -> tuple[Mode, Mode]:
    """The modes of the first forward pass and of all later ones."""
    if not keep:
        return nullcontext(), _Frozen(part, nullcontext())
    first, again = create_selective_checkpoint_contexts(list(keep))
    return first, _Frozen(part, again)


class _Frozen(AbstractContextManager[None]):
    """`frozen_statistics` and another mode, entered anew by every backward pass through one
    graph."""

    def __init__(self, part: nn.Module, mode: Mode) -> None:
        self.part, self.mode = part, mode

    def __enter__(self) -> None:
        self.frozen = frozen_statistics(self.part)
        self.frozen.__enter__()
        self.mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.mode.__exit__(*error)
        self.frozen.__exit__(*error)
