"""BatchNorm's running statistics, and how a forward pass leaves them alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Let a module run once more in a step without BatchNorm counting the pass.

    Inside, BatchNorms in train mode normalise with the statistics of the batch, as always, but
    leave `running_mean`, `running_var` and `num_batches_tracked` as they are. Contexts may be
    nested. Finite activations are assumed: the update is multiplied by zero, not left out, so that
    `torch.utils.checkpoint` finds the same saved tensors in both passes.

    Args:
        module: the module to run; all BatchNorms inside it are frozen.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    before = [(m.momentum, m.num_batches_tracked) for m in norms]
    for m in norms:
        m.momentum, m.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for m, (momentum, count) in zip(norms, before, strict=True):
            m.momentum, m.num_batches_tracked = momentum, count
