"""Every model of a plan, built without data or memory: mistakes are found before the first job, and
what the runs cost is counted."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import torch

from modulewise import models, schedules, tasks
from modulewise.config.cell import Cell, configurations
from modulewise.config.partition import Budget
from modulewise.config.plan import Plan
from modulewise.config.training import TrainConfig
from modulewise.data import sources
from modulewise.engine import flops
from modulewise.engine.build import build as build_method
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.models.network import Network, Shape
from modulewise.schedules import Schedule


def image(cell: Cell, data: Path) -> tuple[tuple[int, int, int], int]:
    """Shape of the cell's images (C, H, W) and number of classes.

    Raises:
        InvalidInput: the data set's file is missing, or its entry does not fit its images.
    """
    sources.check_files(cell.data)
    return sources.shape_and_classes(cell.data, data)


def subset(cell: Cell, train: int) -> None:
    """Refuse more images than there are.

    Args:
        cell: the cell.
        train: number of training images, those held out included.

    Raises:
        InvalidInput: no image is left to train on, or more are asked for than are left.
    """
    left, wanted = train - cell.data.validation, cell.training.train_images
    if left < 2:
        raise InvalidInput(
            f"{cell}: validation: {cell.data.validation} images held out leave {max(left, 0)} to "
            f"train on"
        )
    if wanted and wanted > left:
        raise InvalidInput(f"{cell}: train_images: {wanted} asked for, there are {left}")


Networks = dict[tuple[str, Shape, int], Network]
"""By name, shape of an image and number of outputs."""


def build(cell: Cell, shape: Shape, classes: int, known: Networks) -> Method:
    """A cell's network and method on the meta device.

    Args:
        cell: the cell.
        shape: of an image (C, H, W).
        classes: their number.
        known: networks built before; a new one is added.

    Raises:
        InvalidInput: unknown network or stage, K larger than the network allows, or a method that
            refuses its options.
    """
    task = tasks.build(cell.data.task, classes)
    with torch.device("meta"):
        if (wanted := (cell.network, shape, task.outputs)) not in known:
            known[wanted] = models.build(cell.network, shape, task.outputs, str(cell))
            _ = known[wanted].stage_shapes  # found once: a copy has them
        network = copy.deepcopy(known[wanted])
        # Activation bytes cannot be measured without memory: any cut will do for a trial.
        even = cell.partition == "memory"
        tried = cell.model_copy(update={"partition": "even"}) if even else cell
        method, _ = build_method(tried, shape, task, network)
    return method


def tensor_bytes(method: Method) -> tuple[int, int]:
    """Bytes of what a method's state holds, and of its parameters alone."""
    state, parameters = method.state_dict().values(), method.parameters()
    return sum(t.nbytes for t in state), sum(p.nbytes for p in parameters)


class Preflight:
    """The configurations of a plan, each built once.

    Args:
        plan: the sweep.
        data: folder of downloaded data; only a user's own files are looked at.

    Raises:
        InvalidInput: a data set or a model that cannot be had.
    """

    def __init__(self, plan: Plan, data: Path) -> None:
        self.distinct = configurations(plan.cells)
        self._data, self._networks = data, Networks()
        self._images: dict[str, tuple[Shape, int]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._bytes: dict[str, tuple[int, int]] = {}
        self._alike: dict[Hashable, dict[int, Cell]] = {}
        self._counts: dict[str, float] = {}
        for name, cell in {c.dataset: c for c in self.distinct.values()}.items():
            try:
                self._images[name] = image(cell, data)
                self._size(cell)
            except InvalidInput as error:
                where = f"{plan.catalog.datasets_file}: datasets.{name}"
                raise InvalidInput(f"{where}: {error}") from None
        for cell in self.distinct.values():
            try:
                self._add(cell)
            except InvalidInput as error:
                raise InvalidInput(f"{plan.where}: {error}") from None

    def _add(self, cell: Cell) -> None:
        subset(cell, self._size(cell)[0])
        schedule = self._schedule(cell)
        if (model := _model(cell)) not in self._bytes:
            method = self._build(cell)
            schedule.check(method, str(cell))
            self._bytes[model] = tensor_bytes(method)
        self._alike.setdefault(_work(cell), {})[cell.modules] = cell

    def _build(self, cell: Cell) -> Method:
        return build(cell, *self._images[cell.dataset], self._networks)

    def state_bytes(self, cell: Cell) -> tuple[int, int]:
        """Bytes of a cell's weights, and of its checkpoint: they and the optimiser's state."""
        weights, parameters = self._bytes[_model(cell)]
        moments = max(_moments(phase.training) for phase in self._schedule(cell).phases(1))
        return weights, weights + moments * parameters

    def flops(self, cell: Cell) -> float:
        """FLOPs of a cell's whole run, about; evaluation is a third of training, an image."""
        if cell.training.flops:
            return cell.training.flops
        used, evaluated = self._used(cell), cell.data.validation + self._size(cell)[1]
        joint, schedule = self._per_image(cell), self._schedule(cell)
        return joint * sum(
            phase.epochs * (used * _share(schedule.trained(i), cell.modules) + evaluated / 3)
            for i, phase in enumerate(schedule.phases(self._budget(cell)))
        )

    def epochs(self, cell: Cell) -> int:
        """Epochs of a cell's whole run; of a budget in FLOPs, those of the default."""
        return sum(phase.epochs for phase in self._schedule(cell).phases(self._budget(cell)))

    def _budget(self, cell: Cell) -> int:
        """Epochs that the budget gives the schedule."""
        t = cell.training
        if t.seconds and t.step_seconds:
            steps = math.ceil(self._used(cell) / t.batch_size)
            return max(1, int(t.seconds / (steps * t.step_seconds)))
        return t.planned

    def _used(self, cell: Cell) -> int:
        """Number of images that an epoch of a cell trains on."""
        left, t = self._size(cell)[0] - cell.data.validation, cell.training
        used = min(t.train_images or left, left)
        return t.stretch * min(t.batch_size, used) if t.iterations else used

    def _schedule(self, cell: Cell) -> Schedule:
        return schedules.build(cell.training, cell.modules, 1, cell.seed, str(cell), cell.frozen)

    def _size(self, cell: Cell) -> tuple[int, int]:
        """Number of training and of test images."""
        if cell.dataset not in self._sizes:
            self._sizes[cell.dataset] = sources.sizes(cell.data, self._data)
        return self._sizes[cell.dataset]

    def _per_image(self, cell: Cell) -> float:
        """FLOPs of a joint training step per image: counted at the least and the largest K of the
        cells that are alike, and about linear in K between them."""
        alike = self._alike[_work(cell)]
        least, most = min(alike), max(alike)
        low, high = self._counted(alike[least]), self._counted(alike[most])
        return low + (high - low) * (cell.modules - least) / max(1, most - least)

    def _counted(self, cell: Cell) -> float:
        name = cell.configuration
        if name not in self._counts:
            shape = self._images[cell.dataset][0]
            images = min(cell.training.micro_batch, self._used(cell))
            self._counts[name] = flops.step_flops(self._build(cell), shape, images)
        return self._counts[name]


def _moments(training: TrainConfig) -> int:
    """Tensors that an optimiser keeps of a parameter."""
    return int(training.momentum > 0) if training.optimizer == "sgd" else 2


def _share(trained: range, k: int) -> float:
    """What a step in which some of the modules learn costs of one in which all do: the modules
    before these run forward only, a third of a step, those behind them not at all."""
    return (len(trained) + trained.start / 3) / k


def _model(cell: Cell) -> str:
    """Id of what is built: of the training settings, the schedule and the way to the numbers
    decide, and all that a step's memory rests on where the cuts do."""
    if isinstance(cell.partition, Budget):
        return cell.steps
    t = cell.training
    training = TrainConfig(
        schedule=t.schedule,
        step_in_backward=t.step_in_backward,
        recompute=t.recompute,
        accumulate=min(t.accumulate, 2),
    )
    return cell.model_copy(update={"training": training}).configuration


def _work(cell: Cell) -> Hashable:
    """What decides the FLOPs of a training step per image, but for K: counting them is slow."""
    names = (
        cell.dataset,
        cell.network,
        cell.recipe,
        cell.training.micro_batch,
        cell.training.recompute,
    )
    options = {name: str(v) for name, v in cell.options.items() if not _is_weight(v)}
    return *names, *sorted(options.items())


def _is_weight(option: Any) -> bool:
    """Whether an option is a loss's weights, first and last: whatever they are, the loss is
    computed."""
    return isinstance(option, list) and all(isinstance(x, float) for x in option)
