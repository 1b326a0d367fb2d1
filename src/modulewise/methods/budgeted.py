"""End-to-end backpropagation whose compiler decides what is computed again: torch's activation
memory budget (https://pytorch.org/blog/activation-checkpointing-techniques).

    min L(net(x), y)

The net is traced into one graph. Of the bytes that its backward pass would find if nothing but
chains of cheap operations were computed again, the share `budget` is kept, so that what is computed
again costs as few operations as possible (a knapsack).

The weights are those of backpropagation but for rounding, for the graph adds in another order: in
fp32 gradients differ by some 1e-6 of the largest one. On a GPU Inductor compiles the graph; on a
CPU its operators run one by one (`aot_eager_decomp_partition`), so that memory is what the budget
makes it and time is not.

The budget is for what is kept between the two passes, not for the peak: what is computed again
takes its place in the backward pass. At 0 the net's input alone is kept, the backward pass begins
with a whole forward pass, and the peak is that of backpropagation.

Deviations: none; solver (`dp`) and prices of operations (`flops`) are torch's defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

import torch
from torch import Tensor, fx, nn

from modulewise.config.types import Fraction
from modulewise.errors import InvalidInput
from modulewise.models.network import CutNetwork
from modulewise.parts.end_to_end import EndToEnd

Run = Callable[[nn.Module, Tensor], Tensor]


class Budgeted(EndToEnd):
    """Backpropagation under a budget of kept bytes.

    Args:
        trunk: the network.
        budget: share of the bytes to keep, from 0 (the input alone) to 1.
    """

    equals_backprop = False
    graphable = False
    passes = 2

    def __init__(self, trunk: CutNetwork, *, budget: Fraction = 0.5) -> None:
        super().__init__(trunk)
        self.budget = budget
        self._runs: dict[tuple[str, torch.Size], Run] = {}
        self._traced: Callable[[Tensor], Tensor] | None = None

    def forward_pass(self, x: Tensor) -> Tensor:
        """The compiled net's; every size of batch is compiled once.

        Raises:
            InvalidInput: torch cannot compile here; nothing runs uncompiled instead.
        """
        if x.is_meta:
            return self._traced(x) if self._traced else self.predict(x)
        from torch._dynamo.exc import TorchDynamoException
        from torch._functorch import config

        try:
            with config.patch(activation_memory_budget=self.budget):
                return self._compiled(x)(self.trunk[0], x)
        except TorchDynamoException as error:
            raise _unavailable(error) from error

    def _compiled(self, x: Tensor) -> Run:
        """The forward pass for batches of this size on this device."""
        size = x.device.type, x.shape
        if size not in self._runs:
            self._runs[size] = _compile("inductor" if x.is_cuda else "aot_eager_decomp_partition")
        return self._runs[size]

    def trace(self, x: Tensor) -> None:
        """Make the graph that is counted, of what the compilers make theirs of."""
        from functorch.compile import (
            aot_module,
            make_boxed_func,
            min_cut_rematerialization_partition,
        )
        from torch._functorch import config
        from torch._inductor.decomposition import select_decomp_table

        def as_it_is(graph: fx.GraphModule, _: object) -> Callable[..., object]:
            return make_boxed_func(graph.forward)

        self._traced = aot_module(
            self.trunk[0],
            fw_compiler=as_it_is,
            partition_fn=min_cut_rematerialization_partition,
            decompositions=select_decomp_table(),
        ).forward
        with config.patch(activation_memory_budget=self.budget):
            self._traced(x)


def _compile(backend: str) -> Run:
    """A forward pass, compiled when it is first called. Compiled code belongs to a code object, and
    there is a limit to how much: each size of batch of each net has a copy of its own, so that none
    runs what was compiled under another's budget."""

    def run(net: nn.Module, x: Tensor) -> Tensor:
        return net(x)

    own = FunctionType(run.__code__.replace(), globals())
    try:
        return torch.compile(own, backend=backend, fullgraph=True, dynamic=False)
    except RuntimeError as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> InvalidInput:
    said = str(error).strip().splitlines()[0]
    return InvalidInput(
        f"an activation memory budget needs torch.compile, which fails here: {said}"
    )
