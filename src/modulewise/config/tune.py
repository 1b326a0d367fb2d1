"""The search that a sweep makes before its cells are trained: `tune` in its file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from modulewise.config.schemas import SchemaOf
from modulewise.config.training import TrainConfig
from modulewise.config.types import NUMBER, Frozen, Seed

Values = Annotated[list[Any], Field(min_length=1)]


class Tune(Frozen):
    """Search that is made before the reported cells are trained, for every data set, network,
    recipe and K by itself."""

    trials: Annotated[int, Field(ge=1, le=10_000), NUMBER]
    """Number of trials of every recipe; the first is the recipe as it stands."""
    validation: Annotated[int, Field(ge=1), NUMBER]
    """Number of training images to hold out; the reported cells train on them again."""
    seeds: Annotated[list[Seed], Field(min_length=1)]
    """Seeds of every trial; none of those that are reported."""
    draw: Annotated[int, Field(ge=0), NUMBER] = 0
    """Seed of the random draw of trials."""
    training: Annotated[dict[str, Values], SchemaOf((TrainConfig,), listed=True)] = {}
    """Values to try of training settings, by setting; for every recipe."""
    options: dict[str, dict[str, Values]] = {}
    """Values to try of a method's options, by recipe and option."""
