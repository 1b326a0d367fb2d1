"""Ways to train a network within a memory budget, by recipe and precision, and the fastest that
fits: peaks are found without data, seconds from measured stages."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modulewise import tasks
from modulewise.config.cell import Cell
from modulewise.config.resolve import Catalog
from modulewise.data import sources
from modulewise.engine.build import Planned
from modulewise.engine.dry import StageLap
from modulewise.engine.pieces import Pieces, combined, within
from modulewise.engine.trainer import Trainer
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.models import partition
from modulewise.planning import profile, stages

MODULES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
ACCUMULATE = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Arm:
    """A way to train, and what a step of it is expected to take."""

    cell: Cell
    """With its cuts written out."""
    peak: int
    """Bytes, with the margin."""
    seconds: float


class Arms:
    """The ways to train a network on a data set.

    Args:
        catalog: recipes and data sets.
        dataset: name of a data set.
        network: name of a network.
        batch: number of images in a step.
        root: folder of downloaded data; only a user's own files are looked at.
        on: the device that seconds are measured on.
        modules: numbers of modules to choose from.

    Raises:
        InvalidInput: an unknown data set or network, or fewer images than a step has.
    """

    def __init__(
        self,
        catalog: Catalog,
        dataset: str,
        network: str,
        batch: int,
        root: Path,
        on: torch.device,
        modules: Sequence[int] = MODULES,
    ) -> None:
        self.catalog, self.places, self.batch, self.on = catalog, (dataset, network), batch, on
        self.modules = modules
        cell = self._cell("backprop", 1, {})
        self.image, classes = sources.shape_and_classes(cell.data, root)
        if (left := sources.sizes(cell.data, root)[0] - cell.data.validation) < batch:
            raise InvalidInput(
                f"--batch: {batch} images in a step; {dataset} has {left} to train on"
            )
        self.task = tasks.build(cell.data.task, classes)
        self._alone: dict[str, list[StageLap]] = {}
        self._whole: dict[str, float] = {}
        self._update = 0.0

    def of(self, recipe: str, precision: str, budget: float) -> list[Arm]:
        """The recipe's fastest way that fits, or the one of the least peak; of backprop also the
        plain one.

        Raises:
            InvalidInput: an unknown recipe, or a method that cannot be had on this network.
        """
        training = {"precision": precision}
        known = self.catalog.recipes.recipes
        if recipe not in known or known[recipe].modules == "any":
            return [self._cut(recipe, training, budget)]
        parts = [n for n in ACCUMULATE if 2 * n <= self.batch] if recipe == "backprop" else [1]
        cells = [self._cell(recipe, 1, training | {"accumulate": n}) for n in parts]
        ways = [Planned(cell, self.image, self.task) for cell in cells]
        last = next((n for n, way in enumerate(ways) if way.peak([]) <= budget), len(ways) - 1)
        return [self._uncut(ways[n]) for n in sorted({0, last})]

    def _cell(self, recipe: str, k: int, training: dict[str, Any]) -> Cell:
        settings = {"batch_size": self.batch, "schedule": "joint", **training}
        return self.catalog.cell(*self.places, recipe, k, 0, settings, "plan")

    def _uncut(self, planned: Planned) -> Arm:
        """A method of one module."""
        cell = planned.cell
        method = self._real(planned.method([]), cell)
        plain = cell.method == "backprop" and cell.training.accumulate == 1
        seconds = self._plain(cell.training.precision) if plain else self._seconds(method, cell)
        return Arm(cell, planned.peak([]), seconds + self._updating(method, cell))

    def _cut(self, recipe: str, training: dict[str, Any], budget: float) -> Arm:
        """The least number of modules that fits: each cut adds to a step."""
        planned = Planned(self._cell(recipe, 2, training), self.image, self.task)
        pieces = self._priced(planned)
        n = planned.stages
        found = list[tuple[int, list[int]]]()
        for k in sorted({k for k in self.modules if k < n} | {n}):
            least = pieces.largest(partition.smallest(n, k, pieces.size, pieces.left))
            if least > budget and found:
                continue
            cuts, peak = within(pieces, k, budget, planned.peak)
            found.append((peak, cuts))
            if peak <= budget:
                break
        peak, cuts = found[-1] if found[-1][0] <= budget else min(found)
        cell = self._cell(recipe, len(cuts) + 1, training)
        names = tuple(planned.network.names[cut - 1] for cut in cuts)
        method = planned.method(cuts)
        seconds = pieces.step(cuts) + self._updating(method, cell)
        return Arm(cell.model_copy(update={"partition": names}), peak, seconds)

    def _priced(self, planned: Planned) -> Pieces:
        """The pieces of a method that is cut, with seconds in place of operations; all stages
        together take what a step of backprop takes."""
        counted, training = planned.pieces, planned.cell.training
        method = self._real(planned.method(range(1, planned.stages)), planned.cell)
        if training.precision not in self._alone:
            self._alone[training.precision] = stages.of_stages(method, training, self.image)
        alone = self._alone[training.precision]
        losses = {} if counted.segments else stages.of_losses(method, training, self.image)
        clocked = combined(alone, losses, counted.segments)
        share = self._plain(training.precision) / sum(clocked.whole)
        scaled = (clocked.forward, clocked.whole, clocked.added)
        return counted.priced(*([share * seconds for seconds in each] for each in scaled))

    def _plain(self, precision: str) -> float:
        """Seconds of a step of backprop without the optimiser's."""
        if precision not in self._whole:
            cell = self._cell("backprop", 1, {"precision": precision})
            method = self._real(Planned(cell, self.image, self.task).method([]), cell)
            self._whole[precision] = self._seconds(method, cell)
        return self._whole[precision]

    def _seconds(self, method: Method, cell: Cell) -> float:
        """Seconds of a step of an uncut method without the optimiser's."""
        laps = stages.of_losses(method, cell.training, self.image)
        return cell.training.accumulate * sum(lap.cost for _, lap in laps.values())

    def _real(self, method: Method, cell: Cell) -> Method:
        """A method with weights, on the device; what they are does not matter."""
        made = copy.deepcopy(method).to_empty(device=self.on)
        with torch.no_grad():
            for tensor in [*made.parameters(), *made.buffers()]:
                tensor.normal_(std=0.05) if tensor.is_floating_point() else tensor.zero_()
        if cell.training.channels_last:
            made.to(memory_format=torch.channels_last)
        return made.train()

    def _updating(self, method: Method, cell: Cell) -> float:
        """Seconds of the optimiser's step."""
        if not self._update:
            real = method if next(method.parameters()).device == self.on else None
            self._update = stages.of_update(real or self._real(method, cell), cell.training)
        return self._update * sum(p.nbytes for p in method.parameters())


def measured(cell: Cell, root: Path, on: torch.device) -> tuple[int, float]:
    """Peak memory and seconds of a cell's step: the second of a real run on images of noise, of
    which an epoch has one batch.

    Args:
        cell: the cell.
        root: folder of downloaded data; only a user's own files are looked at.
        on: the device.
    """
    settings: dict[str, Any] = dict.fromkeys(("flops", "seconds", "iterations", "evaluate_every"))
    settings |= {"epochs": 2, "warmup_epochs": 0}
    settings["train_images"] = cell.training.batch_size
    training = cell.training.model_copy(update=settings)
    cell = cell.model_copy(update={"training": training})
    trainer = Trainer(cell, profile.images(cell, root), Path("/nonexistent"), on)
    trainer.prepare()
    trainer.plan()
    trainer.enter_phase()
    (first,), (second,) = (trainer.data.batches(epoch) for epoch in (1, 2))
    trainer.step(first)
    del first
    watch = stages.Stopwatch(on)
    with trainer.memory.step(trainer.optimizers, second):
        watch.lap()
        trainer.step(second)
        seconds = watch.lap().cost
    trainer.memory.end_epoch(trainer.held(), trainer.data.held(), last=True)
    return trainer.memory.peak.live, seconds


def smaller(cell: Cell, root: Path, on: torch.device) -> int:
    """Peak memory of a cell's step, on the line through those at an eighth and a quarter of its
    batch; arguments as of `measured`."""
    batch = cell.training.batch_size
    few, many = max(4, batch // 8), max(8, batch // 4)
    peaks = []
    for size in (few, many):
        training = cell.training.model_copy(update={"batch_size": size})
        peaks.append(measured(cell.model_copy(update={"training": training}), root, on)[0])
    return math.ceil(peaks[1] + (peaks[1] - peaks[0]) / (many - few) * (batch - many))


def fastest(arms: Sequence[Arm], budget: int) -> Iterator[Arm]:
    """The arms that fit, the fastest first."""
    yield from sorted((arm for arm in arms if arm.peak <= budget), key=lambda arm: arm.seconds)
