"""Measurements on the weights of finished runs: which, with what options, on which runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from modulewise.config.cell import Cell
from modulewise.config.dataset import Dataset
from modulewise.config.options import OneOf, names, options_model
from modulewise.config.schemas import SchemaOf
from modulewise.config.types import NUMBER, Frozen
from modulewise.errors import parse

_OPTIONS = SchemaOf(tuple(options_model("studies", name) for name in names("studies")))


class StudyConfig(Frozen):
    """A measurement on the weights of a sweep's finished runs."""

    recipes: list[str] | None = None
    """Recipes whose runs are measured; all of the sweep's if not given."""
    grids: list[Annotated[int, Field(ge=0), NUMBER]] | None = None
    """Numbers of the grids, from 0, whose runs are measured; all grids if not given."""
    options: Annotated[dict[str, Any], _OPTIONS] = {}
    """Options of the study that differ from their defaults."""

    def measures(self, grid: int, recipe: str) -> bool:
        """Whether runs of this grid and recipe are measured."""
        return (self.grids is None or grid in self.grids) and (
            self.recipes is None or recipe in self.recipes
        )


def _known_options(studies: dict[str, StudyConfig]) -> dict[str, StudyConfig]:
    """The same, options checked and without those at their default."""
    out = {}
    for name, study in studies.items():
        model = options_model("studies", name)
        given = parse(model, study.options, f"studies.{name}.options")
        options = given.model_dump(mode="json", exclude_defaults=True)
        out[name] = study.model_copy(update={"options": options})
    return out


Studies = Annotated[
    dict[Annotated[str, OneOf(names("studies"), "study")], StudyConfig],
    AfterValidator(_known_options),
]
"""Studies by name, a file of `modulewise/studies`."""


@dataclass(frozen=True)
class Study:
    """A study of one run.

    Attributes:
        name: a file of `modulewise/studies`.
        options: those that differ from their defaults.
        cell: of the run.
        datasets: entries of the data sets that the option `targets` names, by name.
    """

    name: str
    options: dict[str, Any]
    cell: Cell
    datasets: dict[str, Dataset]

    @property
    def id(self) -> str:
        """Short hash of name, options and data sets."""
        entries = {
            name: entry.model_dump(mode="json", exclude_defaults=True, exclude={"path"})
            for name, entry in self.datasets.items()
        }
        content = json.dumps([self.name, self.options, entries], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    @property
    def path(self) -> str:
        """The file below `results/runs` that holds what was found."""
        return f"{self.cell.path}/study~{self.name}~{self.id}.json"

    def to_json(self) -> str:
        """JSON that `StudyOrder.model_validate_json` reads."""
        return StudyOrder(
            study=self.name, options=self.options, datasets=self.datasets
        ).model_dump_json(exclude_defaults=True)


class StudyOrder(Frozen):
    """What a job is told to measure; the run's folder is told apart."""

    study: Annotated[str, OneOf(names("studies"), "study")]
    """Name of the study."""
    options: dict[str, Any] = {}
    """Options that differ from their defaults."""
    datasets: dict[str, Dataset] = {}
    """Entries of the data sets that the options name, by name."""
