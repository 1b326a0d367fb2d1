"""Schedules: which modules are trained when. Each file holds one, a class of the file's name in
CamelCase.

A schedule's options are the keyword-only arguments of its constructor, each with a type of
`modulewise.config.types` and a default; they stand under the schedule's name in training settings.
"""

from __future__ import annotations

import importlib

from modulewise.config.options import class_name
from modulewise.config.training import TrainConfig
from modulewise.errors import InvalidInput
from modulewise.schedules._base import Phase, Precision, Schedule, backward, descend, freeze

__all__ = ["Phase", "Precision", "Schedule", "backward", "build", "descend", "freeze"]


def build(
    training: TrainConfig,
    k: int,
    batches: int,
    seed: int,
    where: str = "schedule",
    frozen: int = 0,
) -> Schedule:
    """The schedule that the settings name.

    Args:
        training: the cell's settings.
        k: number of modules.
        batches: of an epoch.
        seed: of the schedule's random streams.
        where: for the message.
        frozen: number of first modules that never learn; only of schedules that take it.

    Raises:
        InvalidInput: the schedule refuses its options, the number of modules or the budget.

    Example:
        >>> made = build(TrainConfig(schedule="sequential"), 4, 10, 0)
        >>> [phase.epochs for phase in made.phases(10)]
        [3, 3, 2, 2]
    """
    name = training.schedule
    made: type[Schedule] = getattr(importlib.import_module(f"{__name__}.{name}"), class_name(name))
    try:
        return made(
            training, k, batches, seed, *([frozen] if frozen else []), **training.schedule_options
        )
    except ValueError as error:
        raise InvalidInput(f"{where}: {error}") from None
