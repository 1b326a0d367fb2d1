"""Tuning that is counted: every recipe gets as many trials, on a validation split, with seeds apart
from those that are reported.

A trial is an ordinary cell that holds out validation images; its run is kept like any other. The
first trial of a recipe is the recipe as it stands, the others are drawn at random, without
repetition, from the product of the values given. The trial with the best mean of the primary metric
on the held-out images after the last epoch is chosen; the test set is not looked at. A trial with a
seed that did not finish (diverged, out of memory) is spent and cannot be chosen.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field

from modulewise.config.cell import Cell
from modulewise.config.loading import read_json
from modulewise.config.recipes import Change
from modulewise.config.resolve import Catalog
from modulewise.config.sweep import Grid, GridPoint, Sweep
from modulewise.config.tune import Tune
from modulewise.config.types import Frozen
from modulewise.errors import InvalidInput, choose, parse

FOLDER = Path("results/tuned")
Settings = dict[str, Any]


class Trial(Frozen):
    """One trial: what it changes, and what came of it."""

    training: Settings = {}
    """Training settings that it changes."""
    options: Settings = {}
    """Options of the method that it changes."""
    cells: tuple[str, ...]
    """Paths of its runs."""
    validation: float | None = Field(
        default=None, validation_alias=AliasChoices("validation", "validation_error")
    )
    """Mean over seeds of the primary metric on the held-out images after the last epoch; none if a
    seed did not finish. Called `validation_error` in older files."""


Trials = dict[GridPoint, list[tuple[Trial, list[Cell]]]]
"""Trials of every point, each with its cells."""


class Choice(Frozen):
    """The trials of one point and the number of the one that won."""

    point: GridPoint = Field(validation_alias=AliasChoices("point", "place"))
    """Point that they are of; older files call it `place`."""
    trials: tuple[Trial, ...]
    """Trials that were spent."""
    chosen: int
    """Number of the trial that won."""

    @property
    def change(self) -> Change:
        """What the trial that won changes."""
        best = self.trials[self.chosen]
        return Change(options=best.options, training=best.training)


class Tuned(Frozen):
    """What tuning a sweep came to: `results/tuned/<sweep>.json`."""

    search: str = Field(validation_alias=AliasChoices("search", "plan"))
    """Hash of the trials' runs: choices of another search do not count. Older files call it
    `plan`."""
    choices: tuple[Choice, ...]
    """Choices, one a point."""


def trials(sweep: Sweep, catalog: Catalog, where: str) -> Trials:
    """The trials of a sweep with their cells, one list per point; none if the sweep does not tune.

    Raises:
        InvalidInput: a seed that is reported too, an unknown recipe or setting, or too few values
            for that many trials.
    """
    if sweep.tune is None:
        return {}
    tune, where = sweep.tune, f"{where}: tune"
    for name in tune.options:
        if name not in (names := {r for grid in sweep.grids for r in grid.recipes}):
            raise choose(name, names, "recipe of the sweep", f"{where}.options")
    for n, grid in enumerate(sweep.grids):
        if grid.reuse:
            raise InvalidInput(
                f"{where}: grids[{n}] reuses modules, which trials do not have; tune in a sweep of "
                f"its own"
            )
        if both := sorted(set(tune.seeds) & set(grid.numbers)):
            raise InvalidInput(
                f"{where}.seeds: {', '.join(map(str, both))} of grids[{n}] too; tune with seeds "
                f"that are not reported"
            )
    out: Trials = {}
    for point in catalog.points(sweep):
        drawn = _draw(tune, sweep.grids[point.grid], point, catalog, where)
        out[point] = list(itertools.islice(drawn, tune.trials))
        if len(out[point]) < tune.trials:
            raise InvalidInput(
                f"{where}: {point.recipe} has {len(out[point])} different settings, {tune.trials} "
                f"trials need as many"
            )
    return out


def _draw(
    tune: Tune, grid: Grid, point: GridPoint, catalog: Catalog, where: str
) -> Iterator[tuple[Trial, list[Cell]]]:
    """Trials that differ: the recipe as it stands, then all combinations in random order."""
    seen = set()
    for training, options in _combinations(tune, point.recipe):
        cells = []
        for seed in tune.seeds:
            given = grid.training | training
            cell = catalog.cell(*point[1:], seed, given, where, options, grid.partition)
            data = cell.data.model_copy(update={"validation": tune.validation})
            cells.append(cell.model_copy(update={"data": data}))
        if cells[0].id not in seen:
            seen.add(cells[0].id)
            paths = tuple(c.path for c in cells)
            yield Trial(training=training, options=options, cells=paths), cells


def _combinations(tune: Tune, recipe: str) -> Iterator[tuple[Settings, Settings]]:
    """Training settings and options to try: none, then every combination in random order."""
    own = tune.options.get(recipe, {})
    every = list(itertools.product(*tune.training.values(), *own.values()))
    random.Random(f"{tune.draw} {recipe}").shuffle(every)
    yield {}, {}
    for values in every:
        split = len(tune.training)
        yield (
            dict(zip(tune.training, values[:split], strict=True)),
            dict(zip(own, values[split:], strict=True)),
        )


def digest(found: Trials) -> str:
    """Hash of the trials' runs."""
    paths = [path for tried in found.values() for trial, _ in tried for path in trial.cells]
    return hashlib.sha256("\n".join(paths).encode()).hexdigest()[:16]


def read(path: Path, search: str) -> Tuned | None:
    """What was chosen; `None` if nothing was, or it was in another search than this one."""
    try:
        tuned = parse(Tuned, read_json(path.read_text(), str(path)), str(path))
    except (OSError, ValueError):
        return None
    return tuned if tuned.search == search else None
