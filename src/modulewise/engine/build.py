"""From a cell to its method on its network: for the trainer, and for trials without data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from modulewise import methods, models
from modulewise.config.cell import Cell
from modulewise.config.partition import Budget
from modulewise.config.training import TrainConfig
from modulewise.engine import dry, paths, pieces
from modulewise.engine.pieces import Pieces, raised, within
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.models import partition
from modulewise.models.network import Network, cut
from modulewise.rng import fork
from modulewise.task import Task, label_maps
from modulewise.units import enough, memory


def build(
    cell: Cell,
    image: tuple[int, ...],
    task: Task,
    network: Network | None = None,
) -> tuple[Method, list[int]]:
    """The method of a cell on its network, cut; and the cut points.

    Args:
        cell: the cell; its seed decides the initial weights.
        image: shape of one image (C, H, W).
        task: what the net is trained for.
        network: in place of a new one.

    Raises:
        InvalidInput: unknown network, K larger than it allows, a method that cannot be trained so,
            or not on this data set, or a budget that is too small.
    """
    where = str(cell)
    _fits(cell, image, task)
    if network is None:
        with fork(cell.seed, "trunk"):
            network = models.build(cell.network, image, task.outputs, where)
    if isinstance(cell.partition, Budget):
        cuts = _within(cell, image, task)
    else:
        cuts = partition.resolve(network, cell.partition, cell.modules, where)
    trunk = paths.trunk(cut(network, cuts, task), cell.training)
    with fork(cell.seed, "helpers"):
        method = methods.build(cell.method, trunk, cell.options, cell.training.schedule, where)
    paths.take(method, cell.training, where)
    if method.two_views and not cell.data.augmented:
        raise InvalidInput(
            f"{where}: {cell.method} compares two augmentations of an image, and data set "
            f"{cell.dataset} has none; set pad or flip in its entry"
        )
    return method, cuts


def _fits(cell: Cell, image: tuple[int, ...], task: Task) -> None:
    """Refuse a network whose scores are not of the kind of the targets."""
    scores, targets = models.gives_maps(cell.network), label_maps(task, image)
    if scores != targets:
        given, wanted = (
            "a map of scores" if maps else "scores of the whole image" for maps in (scores, targets)
        )
        raise InvalidInput(
            f"{cell}: network {cell.network} gives {given}, and task {cell.data.task} of data set "
            f"{cell.dataset} needs {wanted}"
        )


class Planned:
    """A cell's method with any cuts, without weights: what a run would need is found on it.

    Args:
        cell: the cell; its partition and number of modules do not matter.
        image: shape of one image (C, H, W).
        task: what the net is trained for.

    Raises:
        InvalidInput: unknown network.
    """

    def __init__(self, cell: Cell, image: tuple[int, ...], task: Task) -> None:
        _fits(cell, image, task)
        self.cell, self.image, self.task = cell, image, task
        self.training = _affordable(cell.training)
        with torch.device("meta"), torch.random.fork_rng([]):
            self.network = models.build(cell.network, image, task.outputs, str(cell))
        self.stages = len(self.network.stages)
        self._peaks: dict[tuple[int, ...], int] = {}

    def method(self, cuts: Sequence[int]) -> Method:
        """The method with these cuts.

        Raises:
            InvalidInput: it cannot be had so.
        """
        cell = self.cell.model_copy(update={"modules": len(cuts) + 1})
        with torch.device("meta"), torch.random.fork_rng([]):
            trunk = paths.trunk(cut(self.network, cuts, self.task), cell.training)
            made = methods.build(
                cell.method, trunk, cell.options, cell.training.schedule, str(cell)
            )
        paths.take(made, cell.training, str(cell))
        if type(made).trace is not Method.trace:
            raise InvalidInput(
                f"{cell}: {cell.method} is compiled while it runs: its peak is not known before, "
                f"and no budget can be planned for it"
            )
        return made

    @cached_property
    def pieces(self) -> Pieces:
        """What it costs at every cut.

        Raises:
            InvalidInput: it cannot be cut behind every stage.
        """
        every = range(1, self.stages)
        try:
            return pieces.counted(self.method(every), self.training, self.image)
        except InvalidInput as error:
            raise InvalidInput(
                f"{error}; partition: a budget needs a method that can be cut behind every stage"
            ) from None

    def peak(self, cuts: Sequence[int]) -> int:
        """Predicted peak memory of a run with these cuts: bytes, with a margin.

        Raises:
            InvalidInput: the method cannot be had so.
        """
        if (key := tuple(cuts)) not in self._peaks:
            found = dry.peak_bytes(self.method(cuts), self.training, self.image)
            self._peaks[key] = raised(found)
        return self._peaks[key]


def _affordable(training: TrainConfig) -> TrainConfig:
    """The settings with the batch size that steps really have."""
    batch = min(training.batch_size, training.train_images or training.batch_size)
    return training.model_copy(update={"batch_size": batch})


def _within(cell: Cell, image: tuple[int, ...], task: Task) -> list[int]:
    """The cuts of a cell whose partition is a budget."""
    assert isinstance(cell.partition, Budget)
    budget, where = cell.partition.budget, f"{cell}: partition"
    one = cell.model_copy(update={"modules": 1, "partition": "even"})
    if (key := (one.steps, image, task.outputs)) not in _PLANNED:
        _PLANNED[key] = Planned(one, image, task)
    planned = _PLANNED[key]
    if cell.modules > planned.stages:
        partition.resolve(planned.network, "even", cell.modules, where)
    if cell.modules == 1:
        cuts, peak = list[int](), planned.peak([])
    else:
        cuts, peak = within(planned.pieces, cell.modules, budget, planned.peak)
    if peak > budget:
        raise InvalidInput(
            f"{where}: K = {cell.modules} needs more than {memory(budget)}; the least possible "
            f"budget is {enough(peak)}"
        )
    return cuts


_PLANNED: dict[tuple[str, tuple[int, ...], int], Planned] = {}
"""Of cells that differ in K, partition, seed and budget of training alone."""
