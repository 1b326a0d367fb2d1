"""What to run and how: sweeps, recipes and data sets become cells, each the full definition of one
run.

A cell's identity is a hash of its canonical JSON without the values that are at their default, so
that a new option with a default keeps all finished work. Where the data lie on disk is no part of
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modulewise.config.cell import Cell
from modulewise.config.dataset import Datasets
from modulewise.config.exhibit import check as check_exhibit
from modulewise.config.loading import read_json, read_yaml
from modulewise.config.options import options_model
from modulewise.config.recipes import Override, Recipes
from modulewise.config.steptimes import StepTimes
from modulewise.config.sweep import Grid, Sweep
from modulewise.config.trials import FOLDER, GridPoint, Trials, Tuned, trials
from modulewise.config.trials import plan as plan_of
from modulewise.config.trials import read as read_tuned
from modulewise.errors import InvalidInput, choose, parse


class Catalog:
    """Recipes and data sets, and the cells that grids make of them.

    Args:
        recipes: path of `recipes.yaml`.
        datasets: path of `datasets.yaml`.
    """

    def __init__(self, recipes: Path, datasets: Path) -> None:
        self.tuned: Tuned | None = None
        """What tuning chose for the sweep's grids."""
        self.profile: StepTimes | None = None
        """Step times of a named device."""
        self.trials: Trials = {}
        """The trials of a sweep that tunes."""
        self.recipes_file, self.datasets_file = recipes, datasets
        self.recipes = parse(Recipes, read_yaml(recipes), str(recipes))
        self.datasets = parse(Datasets, read_yaml(datasets), str(datasets)).datasets
        for name, recipe in self.recipes.recipes.items():
            where = f"{recipes}: recipes.{name}"
            parse(options_model(recipe.method), recipe.options, f"{where}.options")
            if recipe.training not in self.recipes.training:
                raise choose(
                    recipe.training, self.recipes.training, "training settings", f"{where}.training"
                )
            for table in (o for o in recipe.overrides if isinstance(o, str)):
                if table not in self.recipes.tables:
                    raise choose(
                        table, self.recipes.tables, "table of overrides", f"{where}.overrides"
                    )

    def cell(
        self,
        dataset: str,
        network: str,
        recipe: str,
        modules: int,
        seed: int,
        training: dict[str, Any] | None = None,
        where: str = "cell",
        options: dict[str, Any] | None = None,
    ) -> Cell:
        """Resolve one cell: recipe, then its overrides in order, then the grid's training settings
        and what tuning chose.

        Raises:
            InvalidInput: an unknown name, option or setting, or a value out of range.
        """
        if recipe not in self.recipes.recipes:
            raise choose(recipe, self.recipes.recipes, "recipe", where)
        if dataset not in self.datasets:
            raise choose(dataset, self.datasets, "data set", where)
        r = self.recipes.recipes[recipe]
        if r.modules == "one" and modules != 1:
            raise InvalidInput(
                f"{where}: recipe {recipe} does not cut the network; valid modules: 1, got "
                f"{modules}"
            )
        shared = self.recipes.training[r.training]
        own, settings, partition = dict(r.options), dict(shared.set), r.partition
        general = [o for o in shared.overrides if o.when.holds(dataset, network, modules)]
        for override in (*general, *self._overrides(recipe, dataset, network, modules)):
            own |= override.set.options
            settings = _settings(
                settings,
                override.set.training,
                f"{where}: {dataset} {network} {recipe} K={modules}",
            )
            partition = override.set.partition or partition  # type: ignore[assignment]
        content = {
            "dataset": dataset,
            "network": network,
            "recipe": recipe,
            "modules": modules,
            "seed": seed,
            "method": r.method,
            "options": own | (options or {}),
            "partition": partition,
            "training": _settings(
                settings, training or {}, f"{where}: {dataset} {network} {recipe} K={modules}"
            ),
            "data": self.datasets[dataset],
        }
        return parse(Cell, content, f"{where}: {dataset} {network} {recipe} K={modules}")

    def weights(self, cell: Cell) -> list[str]:
        """Sources of the options that overrides of the cell's recipe set: published weights."""
        return list(
            dict.fromkeys(
                o.source
                for o in self._overrides(cell.recipe, cell.dataset, cell.network, cell.modules)
                if o.set.options
            )
        )

    def _overrides(self, recipe: str, dataset: str, network: str, modules: int) -> list[Override]:
        """Those of a recipe and its tables that hold, in order."""
        items = self.recipes.recipes[recipe].overrides
        mine = [
            o
            for item in items
            for o in ([item] if isinstance(item, Override) else self.recipes.tables[item])
        ]
        return [o for o in mine if o.when.holds(dataset, network, modules)]

    def cells(self, sweep: Sweep, where: str = "sweep") -> list[Cell]:
        """All cells of a sweep, in order, each once.

        Raises:
            InvalidInput: something unknown or out of range, or the same cell in two places.
        """
        seen: dict[str, str] = {}
        out = []
        for n, cell in self.numbered(sweep, where):
            if cell.path in seen:
                raise InvalidInput(
                    f"{where}: grids[{n}]: {cell} stands in {seen[cell.path]} already; list it once"
                )
            seen[cell.path] = f"grids[{n}]"
            out.append(cell)
        return out

    def places(self, grid: Grid) -> Iterator[tuple[str, str, str, int]]:
        """Data set, network, recipe and K of a grid's cells, in order."""
        for dataset in grid.datasets:
            for network in grid.networks:
                for recipe in grid.recipes:
                    one = (
                        recipe in self.recipes.recipes
                        and self.recipes.recipes[recipe].modules == "one"
                    )
                    for k in [1] if one else grid.modules:
                        yield dataset, network, recipe, k

    def numbered(self, sweep: Sweep, where: str = "sweep") -> Iterator[tuple[int, Cell]]:
        """The number of a grid, and a cell of it; with what tuning chose, if it did."""
        chosen = {c.place: c.trials[c.chosen] for c in self.tuned.choices} if self.tuned else {}
        for n, grid in enumerate(sweep.grids):
            for place in self.places(grid):
                best = chosen.get(GridPoint(n, *place))
                training = grid.training | (best.training if best else {})
                for seed in grid.numbers:
                    cell = self.cell(
                        *place,
                        seed,
                        training,
                        f"{where}: grids[{n}]",
                        best.options if best else None,
                    )
                    yield n, self._timed(cell, f"{where}: grids[{n}]")

    def _timed(self, cell: Cell, where: str) -> Cell:
        """With the measured step time, if its budget is in seconds and the sweep names a profile
        file."""
        if self.profile is None or cell.training.seconds is None:
            return cell
        found = self.profile.step_seconds.get(cell.steps)
        if found is None:
            raise InvalidInput(
                f"{where}: {cell}: the profile file has no step time of it; {_MEASURE}"
            )
        return cell.model_copy(
            update={"training": cell.training.model_copy(update={"step_seconds": found})}
        )


_MEASURE = "write one with modulewise profile --out FILE, of this sweep without the key profile"


def _settings(base: dict[str, Any], change: dict[str, Any], where: str) -> dict[str, Any]:
    """Training settings with changes; a new budget takes the place of the old one."""
    budgets = {"epochs", "flops", "seconds"}
    if len(budgets & set(change)) > 1:
        raise InvalidInput(f"{where}: training: give one budget: epochs, flops or seconds")
    drop = budgets | {"step_seconds"} if budgets & set(change) else set()
    return {k: v for k, v in base.items() if k not in drop} | change


def load_sweep(
    config: dict[str, Any] | Path, root: Path, where: str = "config", tuned: Path = FOLDER
) -> tuple[Sweep, Catalog, list[Cell]]:
    """Parse a sweep and resolve all its cells; of one that tunes and has not yet, the trials'
    cells.

    Args:
        config: the parsed YAML, or the path of the file.
        root: folder that relative paths of `recipes` and `datasets` start from.
        where: name of the file for messages.
        tuned: folder of what earlier trials chose.

    Raises:
        InvalidInput: anything wrong in the sweep, the recipes or the data sets.
    """
    if isinstance(config, Path):
        config, where = read_yaml(config), str(config)
    sweep = parse(Sweep, config, where)
    catalog = Catalog(root / sweep.recipes, root / sweep.datasets)
    if sweep.profile:
        if not (root / sweep.profile).exists():
            raise InvalidInput(
                f"{where}: profile: {root / sweep.profile}: No such file; {_MEASURE}"
            )
        catalog.profile = parse(
            StepTimes, read_yaml(root / sweep.profile), str(root / sweep.profile)
        )
    cells = catalog.cells(sweep, where)
    if sweep.exhibit:
        check_exhibit(sweep.exhibit, cells, where)
    if sweep.tune:
        catalog.trials = trials(sweep, catalog, where)
        catalog.tuned = read_tuned(tuned / f"{sweep.sweep}.json", plan_of(catalog.trials))
        tried = [cell for found in catalog.trials.values() for _, mine in found for cell in mine]
        cells = catalog.cells(sweep, where) if catalog.tuned else tried
    return sweep, catalog, cells


def sweep_argument(text: str) -> tuple[dict[str, Any] | Path, str]:
    """A sweep given on the command line: the path of a file, or JSON text. Returns it with its name
    for messages."""
    if not text.lstrip().startswith("{"):
        return Path(text), text
    return read_json(text, "--sweep"), "configuration"
