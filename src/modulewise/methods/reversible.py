"""End-to-end backpropagation that keeps no activations where stages can be inverted (Gomez et al.,
The Reversible Residual Network, arXiv 1707.04585): less memory for a second forward pass.

    min L(net(x), y);   of a stage y1 = x1 + f(x2), y2 = x2 + g(y1), backwards:
    x2 = y2 - g(y1);    d y1 += (dg / dy1)^T d y2
    x1 = y1 - f(x2);    d x2 = d y2 + (df / dx2)^T d y1,    d x1 = d y1

Of a run of such stages the output alone is kept. The backward pass inverts stage after stage, and
holds the graph of f or of g of one of them at a time, so that memory does not grow with depth.

The gradients are those of backpropagation on the same network but for rounding: what is inverted
differs from what was there in its last digits. For networks with stages of
`models/coupling.py`, such as `revnet38`.

Deviations from the paper:

1. BatchNorm's running statistics count the first pass alone.
2. In bf16 the halves are kept and added in fp32; only f and g are computed in bf16, of which an
   inverse in bf16 would lose most digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from modulewise.models.coupling import Coupling, Halves
from modulewise.models.network import CutNetwork
from modulewise.models.revnet import EXAMPLES
from modulewise.parts.end_to_end import EndToEnd
from modulewise.parts.precision import in_fp32
from modulewise.parts.statistics import frozen_statistics

Precision = Callable[[], AbstractContextManager[Any]]


class Reversible(EndToEnd):
    """Backpropagation that inverts.

    Args:
        trunk: the network; some of its stages must be reversible.
    """

    equals_backprop = False
    whole_modules = False
    passes = 2

    def __init__(self, trunk: CutNetwork) -> None:
        super().__init__(trunk)
        if not any(map(_inverts, self._stages)):
            raise ValueError(
                f"the network has no stages that can be inverted; valid networks: "
                f"{', '.join(EXAMPLES)}"
            )

    @property
    def _stages(self) -> nn.Sequential:
        return cast(nn.Sequential, self.trunk[0])

    def forward_pass(self, x: Tensor) -> Tensor:
        """The net's, each run of reversible stages as one."""
        for inverts, stages in groupby(self._stages, _inverts):
            run = list(stages)
            if inverts:
                x = through(cast(list[Coupling], run), x)
            else:
                x = nn.Sequential(*run)(x)
        return x


def _inverts(stage: nn.Module) -> bool:
    return isinstance(stage, Coupling) and stage.reversible


def through(stages: Sequence[Coupling], x: Tensor) -> Tensor:
    """Run reversible stages on what enters them (B C H W) and keep nothing but what leaves them
    (B C H W)."""
    x = in_fp32(x)
    parameters = [p for stage in stages for p in stage.parameters()]
    return cast(Tensor, _Through.apply(stages, x, *parameters))


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, stages: Sequence[Coupling], x: Tensor, *parameters: Tensor) -> Tensor:
        halves = cast(Halves, x.detach().chunk(2, 1))
        for stage in stages:
            halves = stage.couple(*halves)
        y = torch.cat(halves, 1)
        ctx.stages, ctx.precision = stages, _precision(x.device.type)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        (h1, h2), (d1, d2) = y.chunk(2, 1), dy.chunk(2, 1)
        gradients: list[Tensor] = []
        for stage in reversed(ctx.stages):
            with frozen_statistics(stage):
                added, back, of_g = _pull(stage.g, h1, d2, ctx.precision)
                h2, d1 = h2 - added, d1 + back
                added, back, of_f = _pull(stage.f, h2, d1, ctx.precision)
                h1, d2 = h1 - added, d2 + back
            gradients = [*of_f, *of_g, *gradients]
        return None, torch.cat((d1, d2), 1), *gradients


def _pull(
    f: nn.Module, x: Tensor, d: Tensor, precision: Precision
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    """f(x); and what the gradient d of f(x) gives x and the parameters of f."""
    x = x.detach().requires_grad_()
    with torch.enable_grad(), precision():
        y = f(x.view_as(x))  # torch's counter of operations bears no leaf here
    of_x, *own = torch.autograd.grad(y, [x, *f.parameters()], d.to(y.dtype))
    return y.detach(), of_x, own


def _precision(kind: str) -> Precision:
    """Makes the autocast context that is in force on a kind of device."""
    if not torch.amp.is_autocast_available(kind):
        return nullcontext
    return partial(
        torch.autocast, kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
    )
