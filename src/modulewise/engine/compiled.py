"""Modules and helpers compiled by torch, each on its own and in place: names of weights stay."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
import torch._functorch.config
from torch import nn

from modulewise.data.base import Data
from modulewise.errors import memory_short
from modulewise.method import Method
from modulewise.schedules import Precision, backward

log = logging.getLogger(__name__)
RECOMPILED = 256
"""How often torch may compile one piece of code: all modules share that of their call, each with
its shapes, in training and in evaluation."""


def try_on(method: Method, backend: str, data: Data, precision: Precision, where: object) -> None:
    """Compile the trunk's modules and the helpers, and try them on the losses of a batch: weights,
    buffers and the random state are afterwards as before. If that fails nothing is compiled, and
    one line says so.

    Args:
        method: on its device.
        backend: of `torch.compile`.
        data: on the same device.
        precision: of forward passes.
        where: for the line.
    """
    # A module in reach of several losses is gone back through for each: it keeps its buffers.
    torch._functorch.config.donated_buffer = not 1 < method.horizon < method.k
    torch._dynamo.config.recompile_limit = RECOMPILED
    torch._dynamo.config.accumulated_recompile_limit = 16 * RECOMPILED
    parts = list(_called(method))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    batch = next(data.batches(1))
    cuda = [batch.x.device] if batch.x.is_cuda else []
    try:
        with torch.random.fork_rng(cuda):
            for part in parts:
                part.compile(backend=backend)
            backward(method.train().losses(batch), precision)
    except Exception as error:
        if memory_short(error):
            raise
        for part in parts:
            part._compiled_call_impl = None
        reason = str(error).strip().partition("\n")[0]
        log.warning(f"{where}: compile: not compiled, {backend} failed: {reason}")
    finally:
        method.zero_grad(set_to_none=True)
        method.load_state_dict(before)


def _called(module: nn.Module) -> Iterator[nn.Module]:
    """The parts with weights that are called, lists left aside."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from _called(child)
        elif any(True for _ in child.parameters()):
            yield child
