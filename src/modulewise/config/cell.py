"""What to run and how: sweeps, recipes and data sets become cells, each the full definition of one
run.

A cell's identity is a hash of its canonical JSON without the values that are at their default, so
that a new option with a default keeps all finished work. Where the data lie on disk is no part of
it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import model_validator

from modulewise.config.dataset import Dataset
from modulewise.config.options import method_names, options_model
from modulewise.config.training import TrainConfig
from modulewise.config.types import Count, Frozen, Name, Seed
from modulewise.errors import choose, parse


class Cell(Frozen):
    """Everything that defines one run."""

    dataset: Name
    network: Name
    recipe: Name
    modules: Count
    """K, the number of gradient-isolated modules."""
    seed: Seed
    method: str
    options: dict[str, Any] = {}
    """Options of the method that differ from their defaults."""
    partition: Literal["even", "memory"] | tuple[str, ...] = "even"
    """`even` (by number of stages), `memory` (equal measured activation bytes) or the stage names
    to cut after."""
    training: TrainConfig = TrainConfig()
    data: Dataset

    @model_validator(mode="after")
    def _known_options(self) -> Cell:
        if self.method not in method_names():
            raise ValueError(str(choose(self.method, method_names(), "method", "")))
        given = parse(options_model(self.method), self.options, "options").model_dump(
            mode="json", exclude_defaults=True
        )
        object.__setattr__(self, "options", given)
        if isinstance(self.partition, tuple) and len(self.partition) != self.modules - 1:
            raise ValueError(
                f"{self.modules} modules need {self.modules - 1} cuts, got {len(self.partition)}"
            )
        t = self.training
        if beyond := [k for k in t.asynchronous.slowdown if k >= self.modules]:
            raise ValueError(
                f"asynchronous: slowdown: there is no module {beyond[0]}; valid: 0 to "
                f"{self.modules - 1}"
            )
        if t.schedule == "sequential" and not (t.flops or t.seconds) and t.epochs < self.modules:
            raise ValueError(
                f"sequential training of {self.modules} modules needs at least {self.modules} "
                f"epochs, got {t.epochs}"
            )
        return self

    def canonical(self) -> str:
        """JSON without defaults, keys sorted, without the place of the data."""
        content = self.model_dump(mode="json", exclude_defaults=True, exclude={"data": {"path"}})
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """Short hash of the canonical JSON."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:8]

    @property
    def configuration(self) -> str:
        """Id of the cell but for its seed: runs of one configuration cost the same."""
        return self.model_copy(update={"seed": 0}).id

    @property
    def steps(self) -> str:
        """Id of the cell but for its seed and budget: training steps of such runs cost the same."""
        budget = {
            "epochs": TrainConfig.model_fields["epochs"].default,
            "flops": None,
            "seconds": None,
            "step_seconds": None,
        }
        return self.model_copy(
            update={"training": self.training.model_copy(update=budget)}
        ).configuration

    @property
    def path(self) -> str:
        """The run's folder below `results/runs`."""
        keys = ("dataset", "network", "recipe", "modules", "seed")
        return "/".join([*(f"{k}~{getattr(self, k)}" for k in keys), f"cell~{self.id}"])

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
