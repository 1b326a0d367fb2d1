"""What `modulewise bench` compares: the configurations of a sweep in groups, each with the plain
backprop that the others are measured against. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from modulewise.config.cell import Cell, configurations
from modulewise.config.plan import Plan
from modulewise.config.training import TrainConfig
from modulewise.errors import InvalidInput, choose

FREE = {
    *("epochs", "flops", "seconds", "step_seconds", "iterations", "evaluate_every"),
    *("batch_size", "train_images"),
    *("lr", "momentum", "nesterov", "weight_decay"),
    *("lr_schedule", "lr_update", "lr_milestones", "lr_factor", "lr_power", "lr_floor"),
    *("warmup_epochs", "warmup_lr"),
    *("module_metrics", "gradient_angles"),
}
"""Training settings that do not change what a step of a batch computes or holds, and the batch
size, which all arms of a group share."""


class Arm(NamedTuple):
    """A configuration, and what it is called."""

    name: str
    cell: Cell
    plain: bool
    """Whether it is backpropagation with every such setting at its default."""


class Group(NamedTuple):
    """Arms that are measured together, step by step in turn."""

    dataset: str
    batch_size: int
    arms: tuple[Arm, ...]

    @property
    def reference(self) -> str | None:
        """Name of the plain backprop that the others are compared with: the group's first."""
        return next((arm.name for arm in self.arms if arm.plain), None)

    @property
    def networks(self) -> list[str]:
        """Names of the networks, each once."""
        return list(dict.fromkeys(arm.cell.network for arm in self.arms))

    @property
    def title(self) -> str:
        """Data set, networks and batch size."""
        return f"{self.dataset} {' '.join(self.networks)} batch {self.batch_size}"


def groups(plan: Plan, batch: int | None = None, only: Sequence[str] = ()) -> list[Group]:
    """The groups of a sweep, in its order.

    Arms of one data set, network and batch size are a group. A network without a plain backprop of
    its own joins the first network of the data set and batch size that has one: a reversible net is
    compared with the net that it stands for.

    Args:
        plan: the sweep; seeds do not count.
        batch: batch size of all arms, in place of their own.
        only: names of arms; all if there are none.

    Raises:
        InvalidInput: an arm that is not there, or whose schedule has no joint steps.
    """
    cells = [_sized(cell, batch) for cell in plan.cells]
    arms = _named(plan, list(configurations(cells).values()))
    for arm in arms:
        if arm.cell.training.schedule != "joint":
            raise InvalidInput(
                f"{plan.where}: {arm.cell}: schedule {arm.cell.training.schedule}; bench compares "
                f"steps of schedule joint, modulewise profile measures the others"
            )
    for name in only:
        if name not in (names := [arm.name for arm in arms]):
            raise choose(name, names, "arm", "--arm")
    arms = [arm for arm in arms if not only or arm.name in only]
    found: dict[tuple[str, int, str], list[Arm]] = {}
    for arm in arms:
        found.setdefault(_home(arm, arms), []).append(arm)
    return [Group(dataset, size, tuple(mine)) for (dataset, size, _), mine in found.items()]


def _sized(cell: Cell, batch: int | None) -> Cell:
    """The cell with another batch size."""
    if batch is None:
        return cell
    training = cell.training.model_copy(update={"batch_size": batch})
    return cell.model_copy(update={"training": training})


def _home(arm: Arm, arms: list[Arm]) -> tuple[str, int, str]:
    """Data set, batch size and network of the group that an arm belongs to."""
    dataset, size = arm.cell.dataset, arm.cell.training.batch_size
    plain = [
        a.cell.network
        for a in arms
        if a.plain and (a.cell.dataset, a.cell.training.batch_size) == (dataset, size)
    ]
    mine = arm.cell.network
    return dataset, size, mine if mine in plain or not plain else plain[0]


def changed(training: TrainConfig) -> dict[str, Any]:
    """The settings that change what a step computes or holds, where they are not the default."""
    return training.model_dump(mode="json", exclude_defaults=True, exclude=FREE)


def _named(plan: Plan, cells: list[Cell]) -> list[Arm]:
    """Names: the recipe, K if there is a choice, the settings that the recipe does not set itself,
    and data set, network or batch size where they are not those of the first arm."""
    names, first = [], cells[0]
    for cell in cells:
        words = [cell.dataset] if cell.dataset != first.dataset else []
        words += [cell.network] if cell.network != first.network else []
        words += [cell.recipe]
        if plan.catalog.recipes.recipes[cell.recipe].modules != "one":
            words.append(f"K={cell.modules}")
        words += [_setting(*item) for item in _by_the_grid(plan, cell).items()]
        size = cell.training.batch_size
        words += [f"batch={size}"] if size != first.training.batch_size else []
        names.append(" ".join(words))
    counts = Counter(names)
    return [
        Arm(name if counts[name] == 1 else f"{name} {cell.configuration}", cell, _plain(cell))
        for name, cell in zip(names, cells, strict=True)
    ]


def _by_the_grid(plan: Plan, cell: Cell) -> dict[str, Any]:
    """The settings of a cell that its recipe alone would not give it."""
    own = plan.catalog.cell(cell.dataset, cell.network, cell.recipe, cell.modules, cell.seed)
    before = changed(own.training)
    return {k: v for k, v in changed(cell.training).items() if before.get(k) != v}


def _setting(name: str, value: Any) -> str:
    return name if value is True else value if name == "precision" else f"{name}={value}"


def _plain(cell: Cell) -> bool:
    return cell.method == "backprop" and not cell.options and not changed(cell.training)
