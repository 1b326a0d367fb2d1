"""Seconds of the steps of modules, each by itself: what K devices can give is worked out from them.

A schedule in one process measures but a few steps, so that a GPU, which must be waited for at every
module, loses nothing worth the name.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

BEFORE, MEASURED = 10, 20
"""Steps of a process before the first that is measured, which hold cuDNN's search, the optimisers'
first memory, the probe of memory and the timing of a budget; and steps of a run that are."""


def clock(device: torch.device) -> float:
    """Seconds: of a GPU until it has done all its work; on a CPU those that this thread was
    computing, whoever else wanted the core."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.thread_time()


class Laps:
    """Seconds of the modules' steps so far.

    Args:
        k: number of modules.

    Attributes:
        seconds: of each module, all steps together.
        steps: that were measured.
    """

    def __init__(self, k: int) -> None:
        self.seconds, self.steps, self.seen = [0.0] * k, 0, 0
        self.device: torch.device | None = None

    def add(self, seconds: Sequence[float]) -> None:
        """One step of all modules."""
        self.seconds = [a + b for a, b in zip(self.seconds, seconds, strict=True)]
        self.steps += 1

    def start(self, device: torch.device) -> None:
        """A step begins, whose modules run one after the other; it is measured if it is its turn.

        Args:
            device: that they run on.
        """
        self.seen += 1
        turn = self.seen > BEFORE and self.steps < MEASURED
        self.device = device if turn else None
        if self.device:
            self.steps += 1
            self.now = clock(self.device)

    def lap(self, k: int) -> None:
        """Module k has made its step."""
        if self.device:
            before, self.now = self.now, clock(self.device)
            self.seconds[k] += self.now - before

    def means(self) -> list[float] | None:
        """Seconds of a step of each module; `None` before the first."""
        return [s / self.steps for s in self.seconds] if self.steps else None

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far."""
        return {"seconds": list(self.seconds), "steps": self.steps}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; nothing of a run that measured nothing."""
        if saved:
            self.seconds, self.steps = list(saved["seconds"]), saved["steps"]
