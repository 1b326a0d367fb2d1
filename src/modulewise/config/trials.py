"""Tuning that is counted: every recipe gets as many trials, on a validation split, with seeds apart
from those that are reported.

A trial is an ordinary cell that holds out validation images; its run is kept like any other. The
first trial of a recipe is the recipe as it stands, the others are drawn at random, without
repetition, from the product of the values given. The trial with the best mean of the primary metric
on the held-out images after the last epoch is chosen; the test set is not looked at. A trial with a seed that did not finish
(diverged, out of memory) is spent and cannot be chosen.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AliasChoices, Field, ValidationError

from modulewise.config.types import NUMBER, Frozen
from modulewise.errors import InvalidInput, choose

if TYPE_CHECKING:
    from modulewise.config.cell import Cell
    from modulewise.config.resolve import Catalog
    from modulewise.config.sweep import Grid, Sweep

FOLDER = Path("results/tuned")
Values = Annotated[list[Any], Field(min_length=1)]
Settings = dict[str, Any]


class Tune(Frozen):
    """What is searched before the reported cells are trained, for every data set, network, recipe
    and K by itself."""

    trials: Annotated[int, Field(ge=1, le=10_000), NUMBER]
    """Of every recipe; the first is the recipe as it stands."""
    validation: Annotated[int, Field(ge=1), NUMBER]
    """Hold out so many training images; the reported cells train on them again."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63), NUMBER]], Field(min_length=1)]
    """Of every trial; none of those that are reported."""
    draw: Annotated[int, Field(ge=0), NUMBER] = 0
    """Seed of the random draw of trials."""
    training: dict[str, Values] = {}
    """Training setting -> values, for every recipe."""
    options: dict[str, dict[str, Values]] = {}
    """Recipe -> option of its method -> values."""


class GridPoint(NamedTuple):
    """What is tuned by itself: the number of a grid, and what its cells but for the seed are."""

    grid: int
    dataset: str
    network: str
    recipe: str
    modules: int


class Trial(Frozen):
    """One trial: what it changes, and what came of it."""

    training: Settings = {}
    options: Settings = {}
    cells: tuple[str, ...]
    """Paths of its runs."""
    validation: float | None = Field(
        default=None, validation_alias=AliasChoices("validation", "validation_error")
    )
    """Mean over seeds of the primary metric on the held-out images after the last epoch; none if a
    seed did not finish. Called `validation_error` in older files."""


Trials = dict[GridPoint, list[tuple[Trial, "list[Cell]"]]]
"""The trials of every place, with their cells."""


class Choice(Frozen):
    """The trials of one place and the number of the one that won."""

    place: GridPoint
    trials: tuple[Trial, ...]
    chosen: int


class Tuned(Frozen):
    """What tuning a sweep came to: `results/tuned/<sweep>.json`."""

    plan: str
    """Hash of the trials' runs: choices of other trials do not count."""
    choices: tuple[Choice, ...]


def trials(sweep: Sweep, catalog: Catalog, where: str) -> Trials:
    """The trials of a sweep with their cells, one list per place.

    Raises:
        InvalidInput: a seed that is reported too, an unknown recipe or setting, or too few values
            for that many trials.
    """
    tune = sweep.tune
    assert tune is not None
    where = f"{where}: tune"
    for name in tune.options:
        if name not in (names := {r for grid in sweep.grids for r in grid.recipes}):
            raise choose(name, names, "recipe of the sweep", f"{where}.options")
    out: Trials = {}
    for n, grid in enumerate(sweep.grids):
        if both := sorted(set(tune.seeds) & set(grid.numbers)):
            raise InvalidInput(
                f"{where}.seeds: {', '.join(map(str, both))} of grids[{n}] too; tune with seeds "
                f"that are not reported"
            )
        for dataset, network, recipe, k in catalog.places(grid):
            place = GridPoint(n, dataset, network, recipe, k)
            out[place] = list(
                itertools.islice(_draw(tune, grid, place, catalog, where), tune.trials)
            )
            if len(out[place]) < tune.trials:
                raise InvalidInput(
                    f"{where}: {recipe} has {len(out[place])} different settings, {tune.trials} "
                    f"trials need as many"
                )
    return out


def _draw(
    tune: Tune, grid: Grid, place: GridPoint, catalog: Catalog, where: str
) -> Iterator[tuple[Trial, list[Cell]]]:
    """Trials that differ: the recipe as it stands, then all combinations in random order."""
    lists: list[tuple[str | None, str, list[Any]]] = [
        (None, k, v) for k, v in tune.training.items()
    ]
    lists += [(place.recipe, k, v) for k, v in tune.options.get(place.recipe, {}).items()]
    every = list(itertools.product(*(values for _, _, values in lists)))
    random.Random(f"{tune.draw} {place.recipe}").shuffle(every)
    seen = set()
    for values in [None, *every]:
        named = [] if values is None else list(zip(lists, values, strict=True))
        training = {k: v for (recipe, k, _), v in named if recipe is None}
        options = {k: v for (recipe, k, _), v in named if recipe is not None}
        cells = []
        for seed in tune.seeds:
            cell = catalog.cell(*place[1:], seed, grid.training | training, where, options)
            cells.append(
                cell.model_copy(
                    update={"data": cell.data.model_copy(update={"validation": tune.validation})}
                )
            )
        if cells[0].id not in seen:
            seen.add(cells[0].id)
            yield (
                Trial(training=training, options=options, cells=tuple(c.path for c in cells)),
                cells,
            )


def plan(found: Trials) -> str:
    """Hash of the trials."""
    paths = [path for tried in found.values() for trial, _ in tried for path in trial.cells]
    return hashlib.sha256("\n".join(paths).encode()).hexdigest()[:16]


def read(path: Path, wanted: str) -> Tuned | None:
    """What was chosen; `None` if it was not, or among other trials than those of this plan."""
    try:
        tuned = Tuned.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None
    return tuned if tuned.plan == wanted else None
