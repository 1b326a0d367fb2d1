"""Recipes and data sets, and the cells that a sweep's grids make of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modulewise.config.cell import Cell
from modulewise.config.dataset import Datasets
from modulewise.config.loading import read_yaml
from modulewise.config.options import options_model
from modulewise.config.partition import Partition
from modulewise.config.recipes import Change, Override, Recipes
from modulewise.config.reuse import GridReuse
from modulewise.config.steptimes import StepTimes
from modulewise.config.sweep import GridPoint, Sweep
from modulewise.config.training import ONE_BUDGET
from modulewise.errors import InvalidInput, choose, parse

BUDGETS = {"epochs", "flops", "seconds", "iterations"}


class GridCell(NamedTuple):
    """A cell, and the number of the grid that it is of."""

    grid: int
    cell: Cell


class Catalog:
    """Recipes and data sets, and the cells that grids make of them.

    Args:
        recipes: path of `recipes.yaml`.
        datasets: path of `datasets.yaml`.

    Raises:
        InvalidInput: a file that cannot be read, or a recipe with an unknown option or name.
    """

    def __init__(self, recipes: Path, datasets: Path) -> None:
        self.recipes_file, self.datasets_file = recipes, datasets
        self.recipes = parse(Recipes, read_yaml(recipes), str(recipes))
        self.datasets = parse(Datasets, read_yaml(datasets), str(datasets)).datasets
        for name in self.recipes.recipes:
            self._check_names(name)

    def _check_names(self, name: str) -> None:
        """Refuse a recipe's unknown options, training settings and tables."""
        recipe, where = self.recipes.recipes[name], f"{self.recipes_file}: recipes.{name}"
        parse(options_model("methods", recipe.method), recipe.options, f"{where}.options")
        settings, tables = self.recipes.training, self.recipes.tables
        if recipe.training not in settings:
            raise choose(recipe.training, settings, "training settings", f"{where}.training")
        for table in (o for o in recipe.overrides if isinstance(o, str)):
            if table not in tables:
                raise choose(table, tables, "table of overrides", f"{where}.overrides")
        for other in recipe.same_as:
            if other not in self.recipes.recipes:
                raise choose(other, self.recipes.recipes, "recipe", f"{where}.same_as")
            if self.recipes.recipes[other].method != recipe.method or other == name:
                raise InvalidInput(f"{where}.same_as: {other} is not another recipe of its method")

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
        partition: Partition | None = None,
    ) -> Cell:
        """Resolve one cell: the recipe, then its overrides in order, then these settings.

        Args:
            dataset: name of a data set.
            network: name of a network.
            recipe: name of a recipe.
            modules: K.
            seed: the seed.
            training: settings of the grid and of tuning.
            where: name of the sweep's file, for the message.
            options: options of the method that tuning chose.
            partition: of the grid, for recipes that cut the network.

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
        where = f"{where}: {dataset} {network} {recipe} K={modules}"
        shared = self.recipes.training[r.training]
        own, settings, cuts = dict(r.options), dict(shared.set), r.partition
        general = [o for o in shared.overrides if o.when.holds(dataset, network, modules)]
        for override in (*general, *self._overrides(recipe, dataset, network, modules)):
            own |= override.set.options
            settings = _settings(settings, override.set.training, where)
            cuts = override.set.partition or cuts  # type: ignore[assignment]
        content = {
            "dataset": dataset,
            "network": network,
            "recipe": recipe,
            "modules": modules,
            "seed": seed,
            "method": r.method,
            "options": own | (options or {}),
            "partition": partition if partition and r.modules != "one" else cuts,
            "training": _settings(settings, training or {}, where),
            "data": self.datasets[dataset],
        }
        return parse(Cell, content, where)

    def weights(self, cell: Cell) -> list[str]:
        """Sources of the options that overrides of the cell's recipe set: published weights."""
        found = self._overrides(cell.recipe, cell.dataset, cell.network, cell.modules)
        return list(dict.fromkeys(o.source for o in found if o.set.options))

    def _overrides(self, recipe: str, dataset: str, network: str, modules: int) -> list[Override]:
        """Overrides of a recipe and its tables that hold, in order."""
        items = self.recipes.recipes[recipe].overrides
        mine = [
            o
            for item in items
            for o in ([item] if isinstance(item, Override) else self.recipes.tables[item])
        ]
        return [o for o in mine if o.when.holds(dataset, network, modules)]

    def points(self, sweep: Sweep) -> Iterator[GridPoint]:
        """Points of a sweep's grids, in order."""
        for n, grid in enumerate(sweep.grids):
            for dataset in grid.datasets:
                for network in grid.networks:
                    for recipe in grid.recipes:
                        for modules in [1] if self._uncut(recipe) else grid.modules:
                            yield GridPoint(n, dataset, network, recipe, modules)

    def baseline(self, names: Iterable[str]) -> str | None:
        """The recipe that the others are compared with: one that does not cut the network,
        `backprop` if there are several, else the first; never an experimental one."""
        known = self.recipes.recipes
        uncut = [n for n in names if self._uncut(n) and not known[n].experimental]
        return "backprop" if "backprop" in uncut else next(iter(uncut), None)

    def _uncut(self, recipe: str) -> bool:
        """Whether a recipe has a single cell, K = 1, beside each of a grid's K."""
        found = self.recipes.recipes.get(recipe)
        return found is not None and found.modules == "one"

    def cells(
        self,
        sweep: Sweep,
        where: str = "sweep",
        chosen: Mapping[GridPoint, Change] | None = None,
        times: StepTimes | None = None,
    ) -> tuple[GridCell, ...]:
        """All cells of a sweep with their grids, in order, each once.

        Args:
            sweep: the sweep.
            where: name of its file, for the message.
            chosen: what tuning chose, by point.
            times: measured step times, which budgets in seconds take.

        Raises:
            InvalidInput: something unknown or out of range, the same cell in two grids, or nothing
                to reuse.
        """
        seen: dict[str, int] = {}
        out: list[GridCell] = []
        for point in self.points(sweep):
            grid, best = sweep.grids[point.grid], (chosen or {}).get(point, Change())
            here = f"{where}: grids[{point.grid}]"
            training = grid.training | best.training
            seed = grid.numbers[0]
            first = self.cell(*point[1:], seed, training, here, best.options, grid.partition)
            for seed in grid.numbers:
                cell = first.model_copy(update={"seed": seed})
                if grid.reuse:
                    cell = _reusing(cell, grid.reuse, [c for g, c in out if g < point.grid], here)
                cell = times.timed(cell, here) if times else cell
                if cell.path in seen:
                    raise InvalidInput(
                        f"{here}: duplicate cell {cell}, already in grids[{seen[cell.path]}]"
                    )
                seen[cell.path] = point.grid
                out.append(GridCell(point.grid, cell))
        return tuple(out)


def _reusing(cell: Cell, reuse: GridReuse, earlier: list[Cell], where: str) -> Cell:
    """The cell with the modules that it reuses of a cell of an earlier grid.

    Raises:
        InvalidInput: there is no such cell, or there are several; or the cell cannot reuse them.
    """
    dataset = reuse.dataset or cell.dataset
    wanted = (dataset, cell.network, reuse.recipe, cell.modules, cell.seed)
    found = [c for c in earlier if (c.dataset, c.network, c.recipe, c.modules, c.seed) == wanted]
    if len(found) != 1:
        source = f"{dataset} {cell.network} {reuse.recipe} K={cell.modules} s{cell.seed}"
        raise InvalidInput(
            f"{where}: reuse: {len(found) or 'no'} cells {source} in the grids before; there must "
            f"be one"
        )
    given = {"source": found[0].path, "modules": reuse.modules, "frozen": reuse.frozen}
    return parse(Cell, cell.model_dump(exclude={"reuse"}) | {"reuse": given}, f"{where}: {cell}")


def _settings(base: dict[str, Any], change: dict[str, Any], where: str) -> dict[str, Any]:
    """Training settings with changes; a new budget replaces the old one."""
    if len(BUDGETS & set(change)) > 1:
        raise InvalidInput(f"{where}: training: {ONE_BUDGET}")
    drop = BUDGETS | {"step_seconds"} if BUDGETS & set(change) else set()
    if drop and "iterations" not in change:
        drop.add("evaluate_every")
    return {k: v for k, v in base.items() if k not in drop} | change
