"""Trial builds of cells without data or memory."""

from __future__ import annotations

from pathlib import Path

import torch

from . import methods, nets, partition, sources
from .config import Cell
from .network import cut
from .task import Classification


def image(cell: Cell, data: Path) -> tuple[tuple[int, int, int], int]:
    """Shape of the cell's images (C, H, W) and number of classes."""
    return sources.shape_and_classes(cell.data, data)


def build(cell: Cell, shape: tuple[int, int, int], classes: int) -> None:
    """Build a cell's network and method on the meta device.

    Raises:
        InvalidInput: unknown network or stage, K larger than the network allows, or a method that refuses its options.
    """
    where, task = str(cell), Classification(classes)
    with torch.device("meta"):
        network = nets.build(cell.network, shape, classes, where)
        simple = "even" if cell.partition == "memory" else cell.partition
        trunk = cut(network, partition.resolve(network, simple, cell.modules, where), task)
        methods.build(cell.method, trunk, cell.options, cell.training.schedule, where)
