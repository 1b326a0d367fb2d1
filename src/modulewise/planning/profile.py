"""How fast a run goes on the device at hand: a few real steps and a little evaluation, timed."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from modulewise import tasks
from modulewise.config.cell import Cell
from modulewise.data import sources
from modulewise.data.base import Data
from modulewise.data.resident import Parts, Resident, Split
from modulewise.engine.device import claim, clock, tidy, timed
from modulewise.engine.progress import Progress
from modulewise.engine.trainer import TIMED, Trainer
from modulewise.errors import InvalidInput, memory_short
from modulewise.planning import noise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunProfile:
    """What a run of a configuration takes, alone on the device."""

    epochs: int
    """Of the whole run, all phases together."""
    phase_seconds: list[float]
    """Of a training step in each phase of the schedule."""
    step_seconds: float
    """Of a training step; their mean over the run."""
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
    exclusive: bool = True
    """Whether the device, or on a CPU the thread's core, was the measurement's own meanwhile: if
    not, a budget in seconds refuses the times."""

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.train_seconds + self.epochs * self.evaluation_seconds + self.startup_seconds


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
    trainer.prepare()
    trainer.plan()
    lengths = [phase.epochs for phase in trainer.phases]
    peak, steps = 0, []
    with alone(trainer.schedule.places(device), trainer.progress) as exclusive:
        for phase, length in enumerate(lengths):
            trainer.progress.epoch = 1 + sum(lengths[:phase])
            if length:
                trainer.enter_phase()
            steps.append(trainer.time_steps() if length else 0.0)
            if device.type == "cuda":
                peak = max(peak, torch.cuda.max_memory_allocated(device))
        startup = time.perf_counter() - begun - TIMED * sum(steps)
        evaluation = evaluation_seconds(trainer, device)
    return _profile(trainer, steps, evaluation, startup, peak or None, exclusive())


@contextmanager
def alone(places: Sequence[torch.device], progress: Progress) -> Iterator[Callable[[], bool]]:
    """Hold the devices meanwhile; gives what says afterwards whether they were the process's own,
    by the rule of a run's."""
    on = places[0]
    begun = clock(on)
    with claim(*places) as unwanted:
        yield lambda: own
        wall, busy = (now - then for now, then in zip(clock(on), begun, strict=True))
        progress.trained(wall, busy)
        own = unwanted() and (on.type != "cpu" or progress.had_its_core)


def evaluation_seconds(trainer: Trainer, device: torch.device) -> float:
    """Seconds of an epoch's evaluation, on validation images too, from one batch.

    Args:
        trainer: that has made steps.
        device: that it runs on.
    """
    sizes, heads = trainer.data.sizes, trainer.training.module_metrics == "every"
    evaluation = _evaluation(trainer, heads, device) * sizes.test
    if sizes.val:
        evaluation += _evaluation(trainer, False, device) * sizes.val
    return evaluation


def _evaluation(trainer: Trainer, heads: bool, device: torch.device) -> float:
    """Seconds of evaluating one image, with the modules' own heads or without; of one batch, whose
    like was evaluated before."""

    def one() -> None:
        trainer.evaluate("test", most=1, heads=heads)

    one()
    _, targets = next(iter(trainer.data.eval_batches("test")))
    return timed(one, device) / len(targets)


def other_budget(profile: RunProfile, cell: Cell, images: Data, device: torch.device) -> RunProfile:
    """The profile of a cell whose steps were measured under another budget.

    Args:
        profile: of a cell with the same `steps`.
        cell: any seed of the configuration.
        images: as for `measure`.
        device: that `profile` was measured on.
    """
    trainer = _trainer(cell, images, device)
    return _profile(
        trainer,
        profile.phase_seconds,
        profile.evaluation_seconds,
        profile.startup_seconds,
        profile.peak_memory_bytes,
        profile.exclusive,
    )


def median(profiles: Sequence[RunProfile]) -> RunProfile:
    """The median of every time that was measured, of several profiles of one configuration: a
    machine that others use too is faster in some minutes than in others."""
    first = profiles[0]
    peaks = [p.peak_memory_bytes for p in profiles if p.peak_memory_bytes]
    return replace(
        first,
        phase_seconds=[
            statistics.median(s) for s in zip(*(p.phase_seconds for p in profiles), strict=True)
        ],
        evaluation_seconds=statistics.median(p.evaluation_seconds for p in profiles),
        startup_seconds=statistics.median(p.startup_seconds for p in profiles),
        peak_memory_bytes=max(peaks, default=None),
        exclusive=all(p.exclusive for p in profiles),
    )


def _profile(
    trainer: Trainer,
    steps: list[float],
    evaluation: float,
    startup: float,
    peak: int | None,
    exclusive: bool,
) -> RunProfile:
    """The profile of a run whose phases have steps of so many seconds."""
    trainer.plan(steps[0])  # a budget in seconds is for schedules of one phase
    lengths, n = [phase.epochs for phase in trainer.phases], trainer.progress.epochs
    step = sum(m * s for m, s in zip(lengths, steps, strict=True)) / n
    epoch = trainer.data.steps * step
    return RunProfile(n, steps, step, epoch, evaluation, n * epoch, startup, peak, exclusive)


def _trainer(cell: Cell, images: Data, device: torch.device) -> Trainer:
    return Trainer(cell, images, Path("/nonexistent"), device)


def images(cell: Cell, root: Path) -> Data:
    """Images of noise, as many and of the shape that a cell trains on. Of pictures that are decoded
    as they are needed, decoding is left out.

    Args:
        cell: the cell.
        root: folder of downloaded data; only a user's own files are looked at.

    Raises:
        InvalidInput: the user's files are missing or damaged.
    """
    if not sources.streamed(cell.data):
        return held_images(cell, root)
    train, test = sources.sizes(cell.data, root)
    left = train - cell.data.validation
    wanted = min(cell.training.train_images or left, left)
    return noise.streamed(cell, (wanted, cell.data.validation, test))


def held_images(cell: Cell, root: Path, most: int | None = None) -> Resident:
    """Images of noise that are all held on the device; arguments as of `images`.

    Args:
        cell: the cell.
        root: folder of downloaded data.
        most: number of images of a part.
    """
    shape, classes = sources.shape_and_classes(cell.data, root)
    train, test = sources.sizes(cell.data, root)
    held, left = cell.data.validation, train - cell.data.validation
    g = torch.Generator().manual_seed(0)

    task = tasks.build(cell.data.task, classes)

    def split(n: int) -> Split:
        n = min(n, most or n)
        x = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=g)
        return Split(x, task.placeholder(n, shape, "cpu"))

    mean, std = (torch.full((shape[0], 1, 1), v) for v in (0.5, 0.25))
    wanted = min(cell.training.train_images or left, left)
    parts = Parts(split(wanted), split(held) if held else None, split(test))
    return Resident(parts, task, cell.data, "noise", cell.training, cell.seed, (mean, std))


def from_json(found: dict[str, Any]) -> RunProfile:
    """What `as_json` gave, also in an earlier version."""
    return RunProfile(**{f.name: found[f.name] for f in fields(RunProfile) if f.name in found})


def as_json(profile: RunProfile) -> dict[str, Any]:
    """What a profile file says of a configuration: every figure, and their sum."""
    found = asdict(profile) | {"seconds": profile.seconds}
    found["phase_seconds"] = [round(s, 6) for s in profile.phase_seconds]
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in found.items()}


def figures(
    cell: Cell, root: Path, device: torch.device, measured: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """What a profile file says of a configuration; too little memory is no error.

    Args:
        cell: any seed of the configuration.
        root: folder of downloaded data.
        device: to run on.
        measured: figures of configurations with the same steps; their medians are taken, and
            nothing is measured anew.

    Raises:
        InvalidInput: the user's files are missing or damaged, or the cell cannot be built.
    """
    if lacking := [f for f in measured if "seconds" not in f]:
        return lacking[0]
    try:
        made = images(cell, root)
        if measured:
            times = median([from_json(f) for f in measured])
            return as_json(other_budget(times, cell, made, device))
        return as_json(measure(cell, made, device))
    except InvalidInput as error:
        raise InvalidInput(f"{cell}: {error}") from None
    except (RuntimeError, MemoryError) as error:
        if (short := memory_short(error)) is None:
            log.error(f"{cell}: cannot be measured")
            raise
        return {"status": "out_of_memory", "reason": short}
    finally:
        tidy(device)
