"""Trial builds of cells without data or memory."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from modulewise import models, schedules, tasks
from modulewise.config.cell import Cell
from modulewise.data import sources
from modulewise.engine import flops
from modulewise.engine.build import build as build_method
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.models.network import Network, Shape


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
    schedules.build(cell.training, cell.modules, 1, cell.seed, str(cell))
    return method


def state_bytes(method: Method, cell: Cell) -> tuple[int, int]:
    """Bytes of the weights, and of a checkpoint: they and the optimiser's state."""
    weights = sum(t.numel() * t.element_size() for t in method.state_dict().values())
    moments = 2 if cell.training.optimizer == "adamw" else int(cell.training.momentum > 0)
    return weights, weights + moments * sum(
        p.numel() * p.element_size() for p in method.parameters()
    )


def step_flops(method: Method, cell: Cell, shape: tuple[int, int, int], train: int) -> float:
    """FLOPs of a training step per image, about; a schedule of phases counts as a joint one.

    Args:
        method: on the meta device.
        cell: for its batch size.
        shape: of an image (C, H, W).
        train: number of training images.
    """
    return flops.step_flops(method, shape, min(cell.training.batch_size, train))
