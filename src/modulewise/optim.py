"""One optimiser a module, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from modulewise.config.training import TrainConfig
from modulewise.errors import InvalidInput
from modulewise.method import Method


def learning_rate(
    training: TrainConfig, epoch: int, epochs: int, done: float | None = None
) -> float:
    """Learning rate of an epoch, 1-based, or of a step in it: the schedule that InfoPro and ContSup
    released (arXiv 2101.10832).

    Cosine: c(e) = lr0 / 2 (1 + cos(pi e / E)), so that the last epoch's is exactly zero. During
    warm-up (e <= w): c(e) (e - 1) / w + lr_w (w + 1 - e) / w. A budget shorter than twice the
    warm-up warms up for a tenth of its epochs; a single epoch, which the cosine would train at
    zero, runs at lr0. Step: lr0 f^n after n of the milestones, m of them being at epoch m E. A
    step's rate has c(t) in place of c(e) and t in place of e - 1, t being the epochs done before;
    so has an epoch's with `lr_update: epoch_start`, t being e - 1. Poly, in place of c:
    p(e) = (lr0 - f) (1 - e / E)^0.9 + f with the floor f (mmsegmentation's).

    Args:
        training: the settings of the phase.
        epoch: of the phase.
        epochs: E, of the phase.
        done: part of the epoch's steps that are done, of a rate that changes with every step.

    Example:
        >>> [round(learning_rate(TrainConfig(), e, 160), 3) for e in (1, 2, 10, 11, 160)]
        [0.01, 0.089, 0.714, 0.791, 0.0]
    """
    begun = epoch - 1 + (done or 0.0)
    at = epoch if done is None and training.lr_update != "epoch_start" else begun
    if training.lr_schedule == "cosine" and (at < epochs or epochs > 1):
        rate = 0.5 * training.lr * (1 + math.cos(math.pi * at / epochs))
    elif training.lr_schedule == "poly":
        left = (1 - at / epochs) ** training.lr_power
        rate = (training.lr - training.lr_floor) * left + training.lr_floor
    elif training.lr_schedule == "step":
        # To a millionth of an epoch: 0.07 x 100 is a little more than 7.
        passed = sum(at >= round(m * epochs, 6) for m in training.lr_milestones)
        rate = training.lr * training.lr_factor**passed
    else:
        rate = training.lr
    w: float = training.warmup_epochs
    if epochs < 2 * w:
        w = epochs // 10 if done is None else epochs / 10
    if begun < w:
        return rate * begun / w + training.warmup_lr * (w - begun) / w
    return rate


Average = Callable[[Sequence[nn.Parameter]], Callable[[], None]]
"""Begins to average the gradients of a module's parameters over processes, and takes them away;
what it gives waits for the means and puts them back."""


class ModuleOptimizers:
    """SGD, Adam or AdamW over the groups of each module: modules step together or on their own.

    Args:
        method: whose groups are optimised.
        training: the settings of the phase.
        modules: that learn; all K if not given.
        average: of gradients over processes, where there are several. A module steps when the next
            one has made its gradients, for its own are on their way meanwhile; the last in
            `settle`.

    Raises:
        TypeError: a parameter of the method belongs to no module.
    """

    def __init__(
        self,
        method: Method,
        training: TrainConfig,
        modules: Iterable[int] | None = None,
        average: Average | None = None,
    ) -> None:
        groups = method.groups()
        owned = {name for k in range(method.k) for name in method.of_module(k)}
        if alone := sorted(groups.keys() - owned):
            raise TypeError(f"{type(method).__name__}: {alone[0]} is a group of no module")
        self.inner: dict[int, torch.optim.Optimizer] = {}
        self.in_backward, self.average = training.step_in_backward, average
        self.pending: list[tuple[int, Callable[[], None]]] = []
        for k in range(method.k) if modules is None else modules:
            if parameters := [p for name in method.of_module(k) for p in groups[name]]:
                self.inner[k] = _optimizer(parameters, training)

    def _of(self, k: int | None) -> Iterable[torch.optim.Optimizer]:
        return self.inner.values() if k is None else [self.inner[k]] if k in self.inner else []

    def set_lr(self, rate: float, k: int | None = None) -> None:
        """Set the learning rate of module k, or of all."""
        for optimizer in self._of(k):
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def zero_grad(self, k: int | None = None) -> None:
        """Drop the gradients of module k, or of all."""
        for optimizer in self._of(k):
            optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def update(self, k: int | None = None) -> Iterator[None]:
        """Backward passes inside give gradients; module k, or all, step on them at the end, or
        each parameter as soon as it has its own (`step_in_backward`). No gradient is left.

        Raises:
            InvalidInput: a parameter that has made its step is given another gradient.
        """
        self.zero_grad()
        with self._hooks(k) if self.in_backward else nullcontext():
            yield
        if self.average is None:
            self.step(k)
            self.zero_grad(k)
            return
        modules = self.inner if k is None else [k] if k in self.inner else []
        sent = [(j, self.average(self.inner[j].param_groups[0]["params"])) for j in modules]
        self.settle()
        self.pending = sent
        if k is None:
            self.settle()

    def settle(self) -> None:
        """Step the modules whose averaged gradients are still on their way."""
        for k, arrive in self.pending:
            arrive()
            self.step(k)
            self.zero_grad(k)
        self.pending = []

    @contextmanager
    def _hooks(self, k: int | None) -> Iterator[None]:
        moved: set[nn.Parameter] = set()

        def move(optimizer: torch.optim.Optimizer, p: Tensor) -> None:
            if p in moved:
                raise InvalidInput(
                    "step_in_backward: two losses of a step reach one parameter; set it to false"
                )
            moved.add(p)  # type: ignore[arg-type]
            (group,) = optimizer.param_groups
            everything, group["params"] = group["params"], [p]
            optimizer.step()
            p.grad, group["params"] = None, everything

        hooks = [
            p.register_post_accumulate_grad_hook(partial(move, optimizer))
            for optimizer in self._of(k)
            for p in optimizer.param_groups[0]["params"]
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def scale_gradients(self, factor: float) -> None:
        """Multiply the gradients of all modules."""
        for optimizer in self.inner.values():
            parameters = optimizer.param_groups[0]["params"]
            if grads := [p.grad for p in parameters if p.grad is not None]:
                torch._foreach_mul_(grads, factor)

    def step(self, k: int | None = None) -> None:
        """Update module k, or all."""
        for optimizer in self._of(k):
            optimizer.step()

    def held(self) -> Iterator[Tensor]:
        """All tensors of the optimisers' state."""
        for optimizer in self.inner.values():
            for state in optimizer.state.values():
                yield from (value for value in state.values() if isinstance(value, Tensor))

    def state_dict(self) -> dict[int, Any]:
        """The state of every module's optimiser."""
        return {k: optimizer.state_dict() for k, optimizer in self.inner.items()}

    def load_state_dict(self, saved: dict[int, Any]) -> None:
        """Put back what `state_dict` gave."""
        for k, optimizer in self.inner.items():
            (own,), (group,) = optimizer.param_groups, saved[k]["param_groups"]
            ours = {name: own[name] for name in ("lr", "fused", "capturable") if name in own}
            optimizer.load_state_dict(saved[k] | {"param_groups": [group | ours]})
            self.set_lr(float(group["lr"]), k)


def _optimizer(parameters: list[nn.Parameter], training: TrainConfig) -> torch.optim.Optimizer:
    """On a GPU one kernel updates all parameters; within a CUDA graph the rate must be a tensor."""
    on_gpu = all(p.is_cuda for p in parameters)
    recorded = on_gpu and training.cuda_graphs
    fused = True if on_gpu else None
    rate = torch.tensor(training.lr, device=parameters[0].device) if recorded else training.lr
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            rate,
            training.momentum,
            0.0,
            training.weight_decay,
            training.nesterov,
            fused=fused,
        )
    kind = torch.optim.Adam if training.optimizer == "adam" else torch.optim.AdamW
    return kind(
        parameters, rate, weight_decay=training.weight_decay, fused=fused, capturable=recorded
    )
