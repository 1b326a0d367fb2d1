"""How far a method's gradients point away from backpropagation's, module by module.

For the parameters theta_k of module k, on one batch and the same weights:

    g_k = what the method's losses leave in theta_k
    b_k = gradient of the task's loss of the deployed net, `Method.predict`, its trunk in train mode
    angle = arccos( <g_k, b_k> / |g_k| |b_k| )  in degrees,   ratio = |g_k| / |b_k|

0 degrees: the step that backpropagation would make, but for its length; 90: nothing in common;
more: uphill. In many dimensions two random directions are close to 90. theta_k is the group
`trunk/k`: helpers are left aside, and so is a readout, which learns the task on features that it
does not shape. b_k is of what is deployed: of forward-forward's summed goodness too.

The method is left as it is: each gradient is made on a copy, which carries queues, moving averages
and learnt feedback along; nothing is dropped. A method that learns from images of earlier steps
(`history`) is shown the batch so often before that they are the same: the angle then says what its
rule is, not what its delay does, for gradients of other images differ in any method. The angle
comes from sums and differences of unit vectors (Kahan), which is exact for equal ones, in double
precision.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd

from modulewise.config.training import TrainConfig
from modulewise.data.base import Data
from modulewise.engine import device
from modulewise.method import Batch, Method
from modulewise.rng import fork
from modulewise.schedules import Precision, backward
from modulewise.schedules._micro import split


class Against(NamedTuple):
    """A module's gradient beside backpropagation's; both are `None` where either has no length."""

    angle: float | None
    """In degrees, from 0 to 180."""
    ratio: float | None
    """Of the lengths, the module's over backpropagation's."""


def metrics(method: Method, data: Data, training: TrainConfig, seed: int) -> dict[str, float]:
    """What a record says of the present gradients: `gradient_angle/module_K` in degrees and
    `gradient_norm_ratio/module_K`, K from 0; nothing of modules without a gradient, or where they
    are not asked for.

    Args:
        method: on its device.
        data: on the same device.
        training: for precision and micro-batches.
        seed: of the run.
    """
    named = zip(("gradient_angle", "gradient_norm_ratio"), ("angle", "ratio"), strict=True)
    if not training.gradient_angles:
        return {}
    found = of_run(method, data, training, seed)
    return {
        f"{name}/module_{k}": value
        for name, field in named
        for k, module in enumerate(found)
        if (value := getattr(module, field)) is not None
    }


def of_run(method: Method, data: Data, training: TrainConfig, seed: int) -> list[Against]:
    """Every module's gradient beside backpropagation's on the run's first batch, or its first
    micro-batch; arguments as of `metrics`."""
    (batch, *_) = split(data.batch(0), training.accumulate)
    return against_backprop(method, batch, device.precision(training, batch.x.device.type), seed)


def against_backprop(
    method: Method, batch: Batch, precision: Precision, seed: int = 0
) -> list[Against]:
    """Every module's gradient beside backpropagation's; the method is left as it is.

    Args:
        method: in whatever mode; nothing of it need learn.
        batch: on its device.
        precision: of the forward passes.
        seed: of the stream that both passes draw from.
    """

    def local(made: Method) -> None:
        for _ in range(made.history + 1):
            made.zero_grad(set_to_none=True)
            backward(made.losses(batch), precision)

    def whole(made: Method) -> None:
        for name, helpers in made.named_children():
            helpers.train(name == "trunk")  # feedback alignment's carry no other errors then
        with precision():
            value = made.task.loss(made.predict(batch.x), batch.y)
        if value.requires_grad:
            value.backward()

    own, others = (_gradients(method, act, batch.x.device, seed) for act in (local, whole))
    return [compare(mine, theirs) for mine, theirs in zip(own, others, strict=True)]


def _gradients(
    method: Method, act: Callable[[Method], None], on: torch.device, seed: int
) -> list[list[Tensor]]:
    """The gradients that `act` leaves in a copy of the method in train mode, of every module's
    parameters; zeros where it leaves none."""
    made = copy.deepcopy(method).train().requires_grad_(True)
    made.zero_grad(set_to_none=True)
    for part in made.modules():
        if isinstance(part, _DropoutNd):
            part.p = 0.0  # a method draws in each of its passes, backpropagation in one
    cuda = [on] if on.type == "cuda" else []
    with torch.random.fork_rng(cuda), fork(seed, "gradients"), torch.enable_grad():
        act(made)
    groups = made.groups()
    return [
        [torch.zeros_like(p) if p.grad is None else p.grad for p in groups.get(f"trunk/{k}", ())]
        for k in range(made.k)
    ]


def compare(mine: list[Tensor], theirs: list[Tensor]) -> Against:
    """Angle and ratio of two gradients of the same parameters.

    Example:
        >>> found = compare([torch.tensor([3.0, 0.0])], [torch.tensor([0.0, 1.0])])
        >>> found.angle, found.ratio
        (90.0, 3.0)
    """
    pairs = [(x.double(), y.double()) for x, y in zip(mine, theirs, strict=True)]
    a, b = _length(x for x, _ in pairs), _length(y for _, y in pairs)
    if not (a and b and math.isfinite(a) and math.isfinite(b)):
        return Against(None, None)
    units = [(x / a, y / b) for x, y in pairs]
    apart, along = _length(x - y for x, y in units), _length(x + y for x, y in units)
    return Against(math.degrees(2 * math.atan2(apart, along)), a / b)


def _length(parts: Iterable[Tensor]) -> float:
    """Euclidean length of a vector in parts."""
    return math.sqrt(sum(float(part.square().sum()) for part in parts))
