"""What to run and how: sweeps, recipes and data sets become cells, each the full definition of one
run.

A cell's identity is a hash of its canonical JSON without the values that are at their default, so
that a new option with a default keeps all finished work. Where the data lie on disk is no part of
it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from modulewise.config.exhibit import Exhibit
from modulewise.config.limits import Limits
from modulewise.config.trials import Tune
from modulewise.config.types import NUMBER, Count, Frozen, Name, Seed


class Grid(Frozen):
    """A product of data sets, networks, recipes, K and seeds."""

    datasets: Annotated[list[str], Field(min_length=1)]
    networks: Annotated[list[str], Field(min_length=1)]
    recipes: Annotated[list[str], Field(min_length=1)]
    modules: Annotated[list[Count], Field(min_length=1)]
    seeds: (
        Annotated[int, Field(ge=1, le=10_000), NUMBER] | Annotated[list[Seed], Field(min_length=1)]
    )
    """Their number, or a list."""
    training: dict[str, Any] = {}
    """Settings of this grid; they win over the recipe's."""

    @property
    def numbers(self) -> list[int]:
        """The seeds."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds


class Sweep(Frozen):
    """What to run: the content of `sweep.yaml`."""

    sweep: Name
    title: str = ""
    grids: Annotated[list[Grid], Field(min_length=1)]
    exhibit: Exhibit | None = None
    """The published table that the report lays these cells out as."""
    tune: Tune | None = None
    """Trials that choose every recipe's settings before these cells are trained."""
    profile: str | None = None
    """File of `modulewise profile`: its step times turn budgets in seconds into epochs, the same
    wherever the runs are made."""
    recipes: str = "config/recipes.yaml"
    datasets: str = "config/datasets.yaml"
    limits: Limits = Limits()
    keep_weights: Literal["none", "last"] = "none"
    """`last`: every run leaves the weights of its last epoch beside its result. No part of a
    cell."""
