"""What to run: the content of `sweep.yaml`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from modulewise.config.analysis import Analysis
from modulewise.config.exhibit import Exhibit
from modulewise.config.limits import Limits
from modulewise.config.partition import Partition
from modulewise.config.reuse import GridReuse
from modulewise.config.schemas import SchemaOf
from modulewise.config.study import Studies
from modulewise.config.training import TrainConfig
from modulewise.config.tune import Tune
from modulewise.config.types import NUMBER, Count, Frozen, Name, Positive, Seed


class Grid(Frozen):
    """Product of data sets, networks, recipes, K and seeds."""

    datasets: Annotated[list[str], Field(min_length=1)]
    """Names in the data-sets file."""
    networks: Annotated[list[str], Field(min_length=1)]
    """Names of networks."""
    recipes: Annotated[list[str], Field(min_length=1)]
    """Names in the recipes file."""
    modules: Annotated[list[Count], Field(min_length=1)]
    """Values of K, the number of modules; a recipe with `modules: one` has K = 1 instead."""
    seeds: (
        Annotated[int, Field(ge=1, le=10_000), NUMBER] | Annotated[list[Seed], Field(min_length=1)]
    )
    """Number of seeds (0, 1, ...), or a list of them."""
    training: Annotated[dict[str, Any], SchemaOf((TrainConfig,))] = {}
    """Training settings of this grid; they win over the recipe's."""
    partition: Partition | None = None
    """Partition of the recipes that cut the network, in place of their own: `even`, `memory`, a
    `budget` or the names of the stages to cut after."""
    reuse: GridReuse | None = None
    """Trained modules of an earlier grid's cells that the cells of this grid begin with."""

    @property
    def numbers(self) -> list[int]:
        """The seeds."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds


class GridPoint(NamedTuple):
    """A grid's number, and what its cells are but for the seed; each is tuned by itself."""

    grid: int
    dataset: str
    network: str
    recipe: str
    modules: int


class Sweep(Frozen):
    """What to run: the content of `sweep.yaml`."""

    sweep: Name
    """Name; the report goes to `results/reports/<sweep>/`."""
    title: str = ""
    """Heading of the report."""
    grids: Annotated[list[Grid], Field(min_length=1)]
    """Grids of cells; the same cell in two of them is an error."""
    exhibit: Exhibit | None = None
    """Published table that the report lays these cells out as."""
    tune: Tune | None = None
    """Trials that choose every recipe's settings before these cells are trained."""
    analysis: Analysis | None = None
    """What the runs are to decide, planned before they are made."""
    profile: str | None = None
    """File of `modulewise profile`: its step times turn budgets in seconds into epochs, the same
    wherever the runs are made."""
    margin: Positive | None = None
    """Loss of the primary metric, in its unit, below which the report counts local learning as
    accurate as the baseline; 0.5 points of a metric in percent unless given, else nothing is
    decided."""
    recipes: str = "config/recipes.yaml"
    """Recipes file; relative to the repository."""
    datasets: str = "config/datasets.yaml"
    """Data-sets file; relative to the repository."""
    limits: Limits = Limits()
    """Limits on what the runs still to do may be expected to take."""
    studies: Studies = {}
    """Measurements on the weights of finished runs, by name; each makes a page of the report."""
    keep_weights: Literal["none", "last"] = "none"
    """Weights that a run leaves beside its result: `none`, or those of its `last` epoch; runs that
    are studied leave theirs in any case. No part of a cell."""
