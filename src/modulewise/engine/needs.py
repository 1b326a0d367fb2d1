"""What a training step of a method needs, as it declares it, and what it has beside the trunk."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from modulewise.engine.flops import parameters
from modulewise.method import Method
from modulewise.runs.result import Needs

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers of every BatchNorm."""


def needs_of(method: Method) -> Needs:
    """The declarations of a method, its options considered, and the sizes of its helpers."""
    beside = [(name, part) for name, part in method.named_children() if name != "trunk"]
    helpers = {name: parameters([part]) for name, part in beside}
    kept = {name: _kept(part) for name, part in beside}
    return Needs(
        supervision=method.supervision,
        feedback=method.feedback if method.k > 1 else "none",
        locked=method.locked,
        passes=method.passes,
        views=1 + method.two_views,
        alive=method.alive,
        history=method.history,
        joint_only=method.joint_only,
        helpers={name: size for name, size in helpers.items() if size},
        kept={name: size for name, size in kept.items() if size},
    )


def _kept(part: nn.Module) -> int:
    """Bytes of the buffers that a checkpoint holds, without BatchNorm's statistics."""
    saved = part.state_dict(keep_vars=True).values()
    own = {id(tensor) for tensor in saved if not isinstance(tensor, nn.Parameter)}
    for module in part.modules():
        if isinstance(module, _BatchNorm):
            own -= {id(getattr(module, name)) for name in STATISTICS}
    return sum(b.nbytes for b in part.buffers() if id(b) in own)
