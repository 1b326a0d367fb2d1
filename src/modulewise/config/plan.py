"""A sweep with everything that its files say of it, resolved once: what every verb starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from modulewise.config import contrasts, exhibit, steptimes
from modulewise.config.alike import trained_as
from modulewise.config.cell import Cell
from modulewise.config.loading import read_yaml
from modulewise.config.resolve import Catalog, GridCell
from modulewise.config.steptimes import StepTimes
from modulewise.config.study import Study
from modulewise.config.sweep import Sweep
from modulewise.config.trials import FOLDER, Trials, Tuned, digest, read, trials
from modulewise.errors import InvalidInput, choose, parse


@dataclass(frozen=True)
class Plan:
    """What a sweep runs and reports."""

    sweep: Sweep
    catalog: Catalog
    """Recipes and data sets that the cells are made of."""
    rows: tuple[GridCell, ...]
    """Cells that the report shows; as tuned, if tuning has chosen."""
    same: dict[str, Cell] = field(default_factory=dict)
    """Path of a cell that is not trained -> the cell whose training is the very same."""
    trials: Trials = field(default_factory=dict)
    """Trials with their cells; none if the sweep does not tune."""
    tuned: Tuned | None = None
    """Choice among the trials, if it was made."""
    times: StepTimes | None = None
    """Step times of the device that the sweep names."""
    where: str = "sweep"
    """Name of the sweep's file, for messages."""

    @property
    def tuning(self) -> bool:
        """Whether the cells to run are trials, because nothing is chosen yet."""
        return self.sweep.tune is not None and self.tuned is None

    @cached_property
    def reported(self) -> tuple[GridCell, ...]:
        """Cells that the report is made of, each training once."""
        return tuple(row for row in self.rows if row.cell.path not in self.same)

    def run_of(self, cell: Cell) -> Cell:
        """The cell that is trained for one of `rows`: itself, or one that is the very same."""
        return self.same.get(cell.path, cell)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Cells to run: the trials as long as nothing is chosen, else the reported ones."""
        if self.tuning:
            return tuple(c for tried in self.trials.values() for _, mine in tried for c in mine)
        return tuple(cell for _, cell in self.reported)

    @cached_property
    def studies(self) -> tuple[Study, ...]:
        """Studies of the reported runs; none while the cells to run are trials."""
        if self.tuning:
            return ()
        out: dict[tuple[str, str], Study] = {}
        for name, config in self.sweep.studies.items():
            entries = {n: self.catalog.datasets[n] for n in config.options.get("targets") or ()}
            for grid, row in self.rows:
                if config.measures(grid, row.recipe):
                    cell = self.run_of(row)
                    out.setdefault((name, cell.path), Study(name, config.options, cell, entries))
        return tuple(out.values())

    def keeps_weights(self, cell: Cell) -> bool:
        """Whether a run of the cell leaves its weights."""
        needed = self._studied | self._reused
        return self.sweep.keep_weights == "last" or cell.path in needed

    @cached_property
    def _studied(self) -> frozenset[str]:
        return frozenset(study.cell.path for study in self.studies)

    @cached_property
    def _reused(self) -> frozenset[str]:
        return frozenset(cell.reuse.source for cell in self.cells if cell.reuse)


def load_plan(path: Path, root: Path = Path(), tuned: Path = FOLDER) -> Plan:
    """Read a sweep and resolve all its cells.

    Args:
        path: of the sweep.
        root: folder that relative paths in it start from.
        tuned: folder of what earlier trials chose.

    Raises:
        InvalidInput: anything wrong in the sweep, the recipes or the data sets.
    """
    sweep = parse(Sweep, read_yaml(path), str(path))
    catalog = Catalog(root / sweep.recipes, root / sweep.datasets)
    return make_plan(sweep, catalog, root, tuned, str(path))


def make_plan(
    sweep: Sweep,
    catalog: Catalog,
    root: Path = Path(),
    tuned: Path = FOLDER,
    where: str = "sweep",
) -> Plan:
    """Resolve all cells of a sweep.

    Args:
        sweep: the sweep.
        catalog: recipes and data sets.
        root: folder that the path of a profile file starts from.
        tuned: folder of what earlier trials chose.
        where: name of the sweep's file, for messages.

    Raises:
        InvalidInput: something unknown or out of range, or the same cell twice.
    """
    times = steptimes.load(root / sweep.profile, where) if sweep.profile else None
    cells = catalog.cells(sweep, where, times=times)
    if sweep.exhibit:
        exhibit.check(sweep.exhibit, (cell for _, cell in cells), where)
    if sweep.analysis:
        recipes = catalog.recipes.recipes
        apart = {name for name, recipe in recipes.items() if recipe.experimental}
        contrasts.check(sweep.analysis, cells, apart, where)
    _check_studies(sweep, catalog, where)
    tried = trials(sweep, catalog, where)
    choice = read(tuned / f"{sweep.sweep}.json", digest(tried)) if tried else None
    if choice:
        chosen = {c.point: c.change for c in choice.choices}
        cells = catalog.cells(sweep, where, chosen, times)
    same = trained_as((cell for _, cell in cells), catalog.recipes)
    return Plan(sweep, catalog, cells, same, tried, choice, times, where)


def _check_studies(sweep: Sweep, catalog: Catalog, where: str) -> None:
    """Refuse studies of recipes or grids that the sweep does not have, or on unknown data sets."""
    recipes = dict.fromkeys(recipe for grid in sweep.grids for recipe in grid.recipes)
    for name, config in sweep.studies.items():
        here = f"{where}: studies.{name}"
        for recipe in config.recipes or ():
            if recipe not in recipes:
                raise choose(recipe, recipes, "recipe of the sweep", f"{here}.recipes")
        for grid in config.grids or ():
            if grid >= len(sweep.grids):
                raise InvalidInput(
                    f"{here}.grids: {grid} of {len(sweep.grids)} grids; they count from 0"
                )
        for dataset in config.options.get("targets") or ():
            if dataset not in catalog.datasets:
                raise choose(dataset, catalog.datasets, "data set", f"{here}.options.targets")
