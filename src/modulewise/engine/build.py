"""From a cell to its method on its network: for the trainer, and for trials without data."""

from __future__ import annotations

from modulewise import methods, models
from modulewise.config.cell import Cell
from modulewise.engine import paths
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.models import partition
from modulewise.models.network import Network, cut
from modulewise.rng import fork
from modulewise.task import Task


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
        InvalidInput: unknown network, K larger than it allows, or a method that cannot be trained
            so, or not on this data set.
    """
    where = str(cell)
    if network is None:
        with fork(cell.seed, "trunk"):
            network = models.build(cell.network, image, task.outputs, where)
    cuts = partition.resolve(network, cell.partition, cell.modules, where)
    trunk = cut(network, cuts, task)
    with fork(cell.seed, "helpers"):
        method = methods.build(cell.method, trunk, cell.options, cell.training.schedule, where)
    paths.check(method, cell.training, where)
    if method.two_views and not (cell.data.pad or cell.data.flip):
        raise InvalidInput(
            f"{where}: {cell.method} compares two augmentations of an image, and data set "
            f"{cell.dataset} has none; set pad or flip in its entry"
        )
    return method, cuts
