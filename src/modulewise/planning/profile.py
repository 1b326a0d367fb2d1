"""How fast a run goes on the device at hand: a few real steps and a little evaluation, timed."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from modulewise.config.cell import Cell
from modulewise.data import sources
from modulewise.data.batches import Data, Split
from modulewise.task import Classification

if TYPE_CHECKING:
    from modulewise.engine.trainer import Trainer

WARM, TIMED = 2, 6
"""Steps that are run first, which hold cuDNN's search and the optimiser's first allocations; and
steps that count."""
EVALUATED = 1000
"""Images of the evaluation that is timed: one batch of it."""


@dataclass(frozen=True)
class RunProfile:
    """What a run of a configuration takes, alone on the device."""

    epochs: int
    """That its budget pays for."""
    step_seconds: float
    """Of a training step; under a schedule of phases, their mean."""
    epoch_seconds: float
    """Of an epoch's training steps."""
    evaluation_seconds: float
    """Of an epoch's evaluation, on validation images too."""
    train_seconds: float
    """Of all training steps of the run."""
    startup_seconds: float
    """Building, counting, and the first steps, with the search for algorithms."""
    peak_memory_bytes: int | None
    """On a GPU, largest sum of live tensor bytes in the timed steps."""

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.train_seconds + self.epochs * self.evaluation_seconds + self.startup_seconds


def timed(act: Callable[[], object], device: torch.device) -> float:
    """Seconds that `act` takes, until the device has done it."""
    begun = time.perf_counter()
    act()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def step_seconds(trainer: Trainer) -> float:
    """Median seconds of a training step in the trainer's present phase. The steps really happen:
    the weights move.

    Under the asynchronous schedule a step is K updates, as many as a joint step makes.
    """
    batches = itertools.chain.from_iterable(trainer._batches(epoch) for epoch in itertools.count(1))

    def step() -> None:
        for batch in itertools.islice(batches, trainer.updates):
            trainer._step(batch)

    clocks = [timed(step, trainer.device) for _ in range(WARM)]
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(trainer.device)
    clocks = [timed(step, trainer.device) for _ in range(TIMED)]
    return statistics.median(clocks)


def epochs(trainer: Trainer, step: float | None = None) -> int:
    """Epochs that a run's budget pays for.

    Args:
        trainer: of the run.
        step: seconds of a training step, which a budget in seconds needs.
    """
    t, flops = trainer.training, trainer.flops
    n, step = t.epochs, t.step_seconds or step
    if t.flops:
        n = max(1, int(t.flops / (trainer.seen * (flops.trunk + flops.helpers))))
    elif t.seconds and step:
        n = max(1, int(t.seconds / (trainer.steps * step)))
    return sum(trainer.schedule.phases(trainer.cell.modules, n))


def measure(cell: Cell, images: Data, device: torch.device) -> RunProfile:
    """Run a few steps of every phase of a cell, and one batch of evaluation; nothing is written.

    Args:
        cell: any seed of the configuration.
        images: of the shape and number the cell trains on; what they show does not matter.
        device: to run on.

    Raises:
        RuntimeError: too little memory, among others.
    """
    begun = time.perf_counter()
    trainer = _trainer(cell, images, device)
    trainer._place()
    trainer.progress.epochs = epochs(trainer)
    phases = trainer.schedule.phases(cell.modules, trainer.progress.epochs)
    peak, steps = 0, []
    for phase in range(len(phases)):
        trainer.progress.epoch = 1 + sum(phases[:phase])
        trainer._enter_phase()
        if trainer.asynchronous:
            trainer.asynchronous.epochs += (
                WARM + TIMED
            )  # the steps that are timed may be more than the run's
        steps.append(step_seconds(trainer))
        if device.type == "cuda":
            peak = max(peak, torch.cuda.max_memory_allocated(device))
    startup = time.perf_counter() - begun - TIMED * sum(steps)
    some = images.test.take(torch.arange(min(EVALUATED, len(images.test))))
    trainer._errors(Split(some.x.to(device), some.y.to(device)))
    clock = timed(lambda: trainer._errors(Split(some.x.to(device), some.y.to(device))), device)
    evaluated = len(images.test) + (len(images.val) if images.val else 0)
    step = sum(n * s for n, s in zip(phases, steps, strict=True)) / sum(phases)
    n = epochs(trainer, step)
    epoch, evaluation = trainer.steps * step, clock * evaluated / len(some)
    return RunProfile(n, step, epoch, evaluation, n * epoch, startup, peak or None)


def other_budget(profile: RunProfile, cell: Cell, images: Data, device: torch.device) -> RunProfile:
    """The profile of a cell whose steps were measured under another budget.

    Args:
        profile: of a cell with the same `steps`.
        cell: any seed of the configuration.
        images: as for `measure`.
        device: that `profile` was measured on.
    """
    n = epochs(_trainer(cell, images, device), profile.step_seconds)
    return replace(profile, epochs=n, train_seconds=n * profile.epoch_seconds)


def _trainer(cell: Cell, images: Data, device: torch.device) -> Trainer:
    from modulewise.engine.trainer import Trainer

    return Trainer(cell, images, Path("/nonexistent"), device, say=lambda _: None)


def images(cell: Cell, root: Path) -> Data:
    """Images of noise, as many and of the shape that a cell trains on.

    Args:
        cell: the cell.
        root: folder of downloaded data; only a user's own files are looked at.

    Raises:
        InvalidInput: the user's files are missing or damaged.
    """
    shape, classes = sources.shape_and_classes(cell.data, root)
    train, test = sources.sizes(cell.data, root)
    held, left = cell.data.validation, train - cell.data.validation
    g = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(
            torch.randint(256, (n, *shape), dtype=torch.uint8, generator=g),
            torch.arange(n) % classes,
        )

    mean, std = (torch.full((shape[0], 1, 1), v) for v in (0.5, 0.25))
    wanted = min(cell.training.train_images or left, left)
    return Data(
        split(wanted),
        split(held) if held else None,
        split(test),
        Classification(classes),
        cell.data,
        mean,
        std,
        "noise",
    )


def from_json(found: dict[str, Any]) -> RunProfile:
    """What `as_json` gave."""
    return RunProfile(**{f.name: found[f.name] for f in fields(RunProfile)})


def as_json(profile: RunProfile) -> dict[str, Any]:
    """What a profile file says of a configuration: every figure, and their sum."""
    return {
        k: round(v, 6) if isinstance(v, float) else v
        for k, v in (asdict(profile) | {"seconds": profile.seconds}).items()
    }
