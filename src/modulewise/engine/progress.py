"""Where a run stands: the part of a checkpoint that is plain values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Counts and clocks of a run, from its beginning over all starts."""

    epochs: int = 0
    """Number of epochs of the whole run; 0 until the budget is resolved."""
    epoch: int = 1
    """Number of the current epoch, from 1."""
    step: int = 0
    """Number of its steps that are done."""
    seconds: float = 0.0
    """Seconds spent in training steps, this epoch's included."""
    busy: float = 0.0
    """Seconds of these that the training thread was computing rather than waiting for a core."""
    epoch_seconds: float = 0.0
    """Seconds spent in this epoch's steps."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Metrics of every finished epoch."""
    times: list[float] = field(default_factory=list)
    """Seconds of every finished epoch's steps."""
    exclusive: bool = True
    """Whether nobody else held or wanted the device."""
    earlier: list[str] = field(default_factory=list)
    """Devices that the run was on before it came to the present one."""
    used: dict[str, float] = field(default_factory=dict)
    """What it has used of its machine (see `engine.usage`)."""

    budget: int = 0
    """Number of epochs the budget resolved to, which the schedule made its phases of."""

    def __post_init__(self) -> None:
        """In checkpoints from before it was kept the budget was the whole run."""
        self.budget = self.budget or self.epochs

    def trained(self, seconds: float, busy: float) -> None:
        """Add to the training time.

        Args:
            seconds: of a clock on the wall.
            busy: of the CPU, in this thread.
        """
        self.seconds += seconds
        self.epoch_seconds += seconds
        self.busy += busy

    def moved(self, device: str) -> None:
        """Go on elsewhere than on the device that the run was on: costs of two do not add up."""
        self.earlier.append(device)
        self.exclusive, self.times = False, []

    def by_phase(self, lengths: Sequence[int]) -> list[int]:
        """Number of finished epochs of every phase, of so many epochs each.

        Example:
            >>> Progress(history=[{}] * 5).by_phase([3, 3, 3])
            [3, 2, 0]
        """
        done, starts = len(self.history), itertools.accumulate(lengths, initial=0)
        return [min(max(0, done - at), n) for at, n in zip(starts, lengths, strict=False)]

    def costs(self, images: int, peak: int) -> dict[str, float]:
        """What a record says of the time and the memory of an epoch.

        Args:
            images: that the epoch trained on.
            peak: bytes of memory so far; 0 if not measured.
        """
        made = {
            "throughput/samples_per_s": images / self.epoch_seconds,
            "time/train_s": self.seconds,
        }
        return made | ({"memory/peak_mib": peak / 2**20} if peak else {})

    @property
    def had_its_core(self) -> bool:
        """Whether the run computed for at least nine tenths of its training time instead of waiting
        for a core; on a CPU."""
        return self.busy >= 0.9 * self.seconds
