"""One optimiser over all groups of a method, and the learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

import torch

from modulewise.config.training import TrainConfig
from modulewise.method import Method


def learning_rate(training: TrainConfig, epoch: int, epochs: int) -> float:
    """Learning rate of an epoch, 1-based, of InfoPro's and ContSup's released schedule (arXiv
    2101.10832).

    Cosine: c(e) = lr0 / 2 (1 + cos(pi e / E)), so that the last epoch's is exactly zero. During
    warm-up (e <= w): c(e) (e - 1) / w + lr_w (w + 1 - e) / w. A budget shorter than twice the
    warm-up warms up for a tenth of its epochs; a single epoch, which the cosine would train at
    zero, runs at lr0.

    Example:
        >>> [round(learning_rate(TrainConfig(), e, 160), 3) for e in (1, 2, 10, 11, 160)]
        [0.01, 0.089, 0.714, 0.791, 0.0]
    """
    if training.lr_schedule == "cosine" and epochs > 1:
        rate = 0.5 * training.lr * (1 + math.cos(math.pi * epoch / epochs))
    elif training.lr_schedule == "step":
        rate = training.lr * 0.1 ** ((epoch >= epochs / 2) + (epoch >= 3 * epochs / 4))
    else:
        rate = training.lr
    w = training.warmup_epochs if epochs >= 2 * training.warmup_epochs else epochs // 10
    if epoch <= w:
        return rate * (epoch - 1) / w + training.warmup_lr * (w + 1 - epoch) / w
    return rate


class Optimiser:
    """SGD or AdamW over a method's groups; groups can be stepped on their own.

    Args:
        method: whose `groups()` are optimised.
        training: the cell's settings.
    """

    def __init__(self, method: Method, training: TrainConfig) -> None:
        groups: list[dict[str, Any]] = [
            {"name": name, "params": params} for name, params in method.groups().items()
        ]
        if training.optimizer == "sgd":
            self.inner: torch.optim.Optimizer = torch.optim.SGD(
                groups,
                training.lr,
                training.momentum,
                0.0,
                training.weight_decay,
                training.nesterov,
            )
        else:
            self.inner = torch.optim.AdamW(groups, training.lr, weight_decay=training.weight_decay)

    def set_lr(self, rate: float, groups: tuple[str, ...] | None = None) -> None:
        """Set the learning rate of all groups, or of those named."""
        for group in self.inner.param_groups:
            if groups is None or group["name"] in groups:
                group["lr"] = rate

    def zero_grad(self) -> None:
        """Drop all gradients."""
        self.inner.zero_grad(set_to_none=True)

    def step(self, groups: tuple[str, ...] | None = None) -> None:
        """Update all groups; or, if named, these alone, whose gradients are then dropped."""
        if groups is None:
            self.inner.step()
            return
        others = [
            p for g in self.inner.param_groups if g["name"] not in groups for p in g["params"]
        ]
        kept = [p.grad for p in others]
        for p in others:
            p.grad = None
        self.inner.step()
        self.zero_grad()
        for p, grad in zip(others, kept, strict=True):
            p.grad = grad
