"""What to run and how: sweeps, recipes and data sets become cells, each the full definition of one
run.

A cell's identity is a hash of its canonical JSON without the values that are at their default, so
that a new option with a default keeps all finished work. Where the data lie on disk is no part of
it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import model_validator

from modulewise.config.dataset import Dataset
from modulewise.config.options import OneOf, names, options_model
from modulewise.config.partition import Budget, Partition
from modulewise.config.reuse import Reuse
from modulewise.config.training import TrainConfig
from modulewise.config.types import Count, Frozen, Name, Seed
from modulewise.errors import parse


class Cell(Frozen):
    """Everything that defines one run."""

    dataset: Name
    """Name in `datasets.yaml`."""
    network: Name
    """Name of the network, such as `resnet32`."""
    recipe: Name
    """Name in `recipes.yaml`."""
    modules: Count
    """Number of gradient-isolated modules, K."""
    seed: Seed
    """Seed of all random streams."""
    method: Annotated[str, OneOf(names("methods"), "method")]
    """Method, a file of `modulewise/methods`."""
    options: dict[str, Any] = {}
    """Options of the method that differ from their defaults."""
    partition: Partition = "even"
    """Partition: `even` (by number of stages), `memory` (equal measured activation bytes), a
    `budget` of memory, or the names of the stages to cut after."""
    training: TrainConfig = TrainConfig()
    """Optimiser, schedule, budget and numerics."""
    data: Dataset
    """Entry of the data set."""
    reuse: Reuse | None = None
    """Trained modules of another run as the first modules of this one."""

    @model_validator(mode="after")
    def _known_options(self) -> Cell:
        given = parse(options_model("methods", self.method), self.options, "options").model_dump(
            mode="json", exclude_defaults=True
        )
        object.__setattr__(self, "options", given)
        if isinstance(self.partition, tuple) and len(self.partition) != self.modules - 1:
            raise ValueError(
                f"{self.modules} modules need {self.modules - 1} cuts, got {len(self.partition)}"
            )
        if isinstance(self.partition, Budget) and self.training.schedule != "joint":
            raise ValueError(
                f"partition: a budget is for the peak of a joint step; valid schedule: joint, got "
                f"{self.training.schedule}"
            )
        if self.reuse:
            self._check_reuse(self.reuse)
        return self

    def _check_reuse(self, reuse: Reuse) -> None:
        """Refuse reused modules that are not there, leave nothing to train, or cannot be frozen."""
        most = self.modules - reuse.frozen
        if reuse.modules > most:
            raise ValueError(
                f"reuse: {reuse.modules}{' frozen' * reuse.frozen} modules of {self.modules}; "
                f"valid: at most {most}"
            )
        if reuse.frozen and self.training.schedule != "sequential":
            raise ValueError(
                f"reuse: frozen modules need schedule sequential, got {self.training.schedule}; "
                f"set training.schedule, or frozen: false"
            )

    @property
    def frozen(self) -> int:
        """Number of first modules that are reused and stay as they are."""
        return self.reuse.modules if self.reuse and self.reuse.frozen else 0

    def canonical(self) -> str:
        """JSON without defaults, keys sorted, without the place of the data."""
        content = self.model_dump(mode="json", exclude_defaults=True, exclude={"data": {"path"}})
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @cached_property
    def id(self) -> str:
        """Short hash of the canonical JSON."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:8]

    @property
    def configuration(self) -> str:
        """Id of the cell but for its seed: runs of one configuration cost the same."""
        update: dict[str, Any] = {"seed": 0}
        if self.reuse:
            source = {"source": self.reuse.configuration}
            update["reuse"] = self.reuse.model_copy(update=source)
        return self.model_copy(update=update).id

    @property
    def steps(self) -> str:
        """Id of the cell but for its seed and budget: training steps of such runs cost the same."""
        budget = {
            "epochs": TrainConfig.model_fields["epochs"].default,
            "flops": None,
            "seconds": None,
            "step_seconds": None,
            "iterations": None,
            "evaluate_every": None,
        }
        return self.model_copy(
            update={"training": self.training.model_copy(update=budget)}
        ).configuration

    @cached_property
    def path(self) -> str:
        """The run's folder below `results/runs`."""
        keys = ("dataset", "network", "recipe", "modules", "seed")
        return "/".join([*(f"{k}~{getattr(self, k)}" for k in keys), f"cell~{self.id}"])

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, which has an id of its own."""
        made = super().model_copy(update=update, deep=deep)
        for name in ("id", "path"):
            made.__dict__.pop(name, None)
        return made

    def to_json(self) -> str:
        """JSON without defaults that `Cell.model_validate_json` reads back."""
        return self.model_dump_json(exclude_defaults=True)

    def __str__(self) -> str:
        return f"{self.dataset} {self.network} {self.recipe} K={self.modules} s{self.seed}"


def configurations(cells: Iterable[Cell]) -> dict[str, Cell]:
    """The first cell of each configuration, by its id."""
    out: dict[str, Cell] = {}
    for cell in cells:
        out.setdefault(cell.configuration, cell)
    return out
