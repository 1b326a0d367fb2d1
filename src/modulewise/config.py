"""What to run and how: sweeps, recipes and data sets become cells, each the full definition of one run.

A cell's identity is a hash of its canonical JSON without the values that are at their default, so that a new option with a
default keeps all finished work. Where the data lie on disk is no part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .base import Frozen, Name
from .errors import InvalidInput, choose, parse
from .exhibit import Exhibit
from .exhibit import check as check_exhibit
from .limits import Limits
from .options import NUMBER, Count, Positive, method_names, options_model
from .reading import read_json, read_yaml
from .recipes import Override, Recipes
from .search import FOLDER, Place, Trials, Tune, Tuned, trials
from .search import plan as plan_of
from .search import read as read_tuned
from .steptimes import StepTimes
from .training import Training

Seed = Annotated[int, Field(ge=0, lt=2**63), NUMBER]
Side = Annotated[int, Field(ge=1, le=2**14), NUMBER]
"""Channels, height or width of an image."""


class Dataset(Frozen):
    """Where images come from and how they are normalised and augmented."""

    source: Literal["torchvision", "npz", "imagefolder", "digits", "fake"]
    torchvision_class: Literal["CIFAR10", "CIFAR100", "SVHN", "STL10", "MNIST", "FashionMNIST"] | None = None
    path: str | None = None
    """Of an npz file or an ImageFolder root holding train/ and test/; no part of a cell's identity."""
    shape: tuple[Side, Side, Side] | None = None
    """Channels, height, width; an npz file says it itself."""
    classes: Annotated[int, Field(ge=2, le=2**20), NUMBER] | None = None
    mean: tuple[Annotated[float, Field(allow_inf_nan=False), NUMBER], ...] | None = None
    """Per channel in [0, 1]; from the training images if not given."""
    std: tuple[Positive, ...] | None = None
    pad: Annotated[int, Field(ge=0, le=2**14), NUMBER] = 0
    """Pad by so many pixels, then crop at random to the original size."""
    padding: Literal["zeros", "reflect"] = "zeros"
    flip: bool = False
    validation: Annotated[int, Field(ge=0), NUMBER] = 0
    """Hold out so many training images, the same for every seed, for selection."""
    train_size: Annotated[int, Field(ge=2, le=2**24), NUMBER] = 512
    """Of `fake` only: number of training images; a quarter as many for testing."""

    @model_validator(mode="after")
    def _complete(self) -> Dataset:
        needs = {"torchvision": ("torchvision_class", "shape", "classes"), "npz": ("path",), "digits": ()}
        missing = [k for k in needs.get(self.source, ("shape", "classes")) if getattr(self, k) is None]
        if self.source == "imagefolder" and self.path is None:
            missing.append("path")
        if missing:
            raise ValueError(f"a {self.source} data set needs {', '.join(missing)}")
        return self


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
    """`even` (by number of stages), `memory` (equal measured activation bytes) or the stage names to cut after."""
    training: Training = Training()
    data: Dataset

    @model_validator(mode="after")
    def _known_options(self) -> Cell:
        if self.method not in method_names():
            raise ValueError(str(choose(self.method, method_names(), "method", "")))
        given = parse(options_model(self.method), self.options, "options").model_dump(mode="json", exclude_defaults=True)
        object.__setattr__(self, "options", given)
        if isinstance(self.partition, tuple) and len(self.partition) != self.modules - 1:
            raise ValueError(f"{self.modules} modules need {self.modules - 1} cuts, got {len(self.partition)}")
        t = self.training
        if beyond := [k for k in t.asynchronous.slowdown if k >= self.modules]:
            raise ValueError(f"asynchronous: slowdown: there is no module {beyond[0]}; valid: 0 to {self.modules - 1}")
        if t.schedule == "sequential" and not (t.flops or t.seconds) and t.epochs < self.modules:
            raise ValueError(f"sequential training of {self.modules} modules needs at least {self.modules} epochs, got {t.epochs}")
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
        budget = {"epochs": Training.model_fields["epochs"].default, "flops": None, "seconds": None, "step_seconds": None}
        return self.model_copy(update={"training": self.training.model_copy(update=budget)}).configuration

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


def configurations(cells: list[Cell]) -> dict[str, Cell]:
    """The first cell of each configuration, by its id."""
    out: dict[str, Cell] = {}
    for cell in cells:
        out.setdefault(cell.configuration, cell)
    return out


class Datasets(Frozen):
    """The content of `datasets.yaml`."""

    datasets: dict[Name, Dataset]


class Grid(Frozen):
    """A product of data sets, networks, recipes, K and seeds."""

    datasets: Annotated[list[str], Field(min_length=1)]
    networks: Annotated[list[str], Field(min_length=1)]
    recipes: Annotated[list[str], Field(min_length=1)]
    modules: Annotated[list[Count], Field(min_length=1)]
    seeds: Annotated[int, Field(ge=1, le=10_000), NUMBER] | Annotated[list[Seed], Field(min_length=1)]
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
    pace: str | None = None
    """File of `modulewise pace`: its step times turn budgets in seconds into epochs, the same wherever the runs are made."""
    recipes: str = "config/recipes.yaml"
    datasets: str = "config/datasets.yaml"
    limits: Limits = Limits()
    keep_weights: Literal["none", "last"] = "none"
    """`last`: every run leaves the weights of its last epoch beside its result. No part of a cell."""


class Book:
    """Recipes and data sets, and the cells that grids make of them.

    Args:
        recipes: path of `recipes.yaml`.
        datasets: path of `datasets.yaml`.
    """

    def __init__(self, recipes: Path, datasets: Path) -> None:
        self.tuned: Tuned | None = None
        """What tuning chose for the sweep's grids."""
        self.pace: StepTimes | None = None
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
                raise choose(recipe.training, self.recipes.training, "training settings", f"{where}.training")
            for table in (o for o in recipe.overrides if isinstance(o, str)):
                if table not in self.recipes.tables:
                    raise choose(table, self.recipes.tables, "table of overrides", f"{where}.overrides")

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
        """Resolve one cell: recipe, then its overrides in order, then the grid's training settings and what tuning chose.

        Raises:
            InvalidInput: an unknown name, option or setting, or a value out of range.
        """
        if recipe not in self.recipes.recipes:
            raise choose(recipe, self.recipes.recipes, "recipe", where)
        if dataset not in self.datasets:
            raise choose(dataset, self.datasets, "data set", where)
        r = self.recipes.recipes[recipe]
        if r.modules == "one" and modules != 1:
            raise InvalidInput(f"{where}: recipe {recipe} does not cut the network; valid modules: 1, got {modules}")
        shared = self.recipes.training[r.training]
        own, settings, partition = dict(r.options), dict(shared.set), r.partition
        general = [o for o in shared.overrides if o.when.holds(dataset, network, modules)]
        for override in (*general, *self._overrides(recipe, dataset, network, modules)):
            own |= override.set.options
            settings = _settings(settings, override.set.training, f"{where}: {dataset} {network} {recipe} K={modules}")
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
            "training": _settings(settings, training or {}, f"{where}: {dataset} {network} {recipe} K={modules}"),
            "data": self.datasets[dataset],
        }
        return parse(Cell, content, f"{where}: {dataset} {network} {recipe} K={modules}")

    def weights(self, cell: Cell) -> list[str]:
        """Sources of the options that overrides of the cell's recipe set: published weights."""
        return list(
            dict.fromkeys(o.source for o in self._overrides(cell.recipe, cell.dataset, cell.network, cell.modules) if o.set.options)
        )

    def _overrides(self, recipe: str, dataset: str, network: str, modules: int) -> list[Override]:
        """Those of a recipe and its tables that hold, in order."""
        items = self.recipes.recipes[recipe].overrides
        mine = [o for item in items for o in ([item] if isinstance(item, Override) else self.recipes.tables[item])]
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
                raise InvalidInput(f"{where}: grids[{n}]: {cell} stands in {seen[cell.path]} already; list it once")
            seen[cell.path] = f"grids[{n}]"
            out.append(cell)
        return out

    def places(self, grid: Grid) -> Iterator[tuple[str, str, str, int]]:
        """Data set, network, recipe and K of a grid's cells, in order."""
        for dataset in grid.datasets:
            for network in grid.networks:
                for recipe in grid.recipes:
                    one = recipe in self.recipes.recipes and self.recipes.recipes[recipe].modules == "one"
                    for k in [1] if one else grid.modules:
                        yield dataset, network, recipe, k

    def numbered(self, sweep: Sweep, where: str = "sweep") -> Iterator[tuple[int, Cell]]:
        """The number of a grid, and a cell of it; with what tuning chose, if it did."""
        chosen = {c.place: c.trials[c.chosen] for c in self.tuned.choices} if self.tuned else {}
        for n, grid in enumerate(sweep.grids):
            for place in self.places(grid):
                best = chosen.get(Place(n, *place))
                training = grid.training | (best.training if best else {})
                for seed in grid.numbers:
                    cell = self.cell(*place, seed, training, f"{where}: grids[{n}]", best.options if best else None)
                    yield n, self._timed(cell, f"{where}: grids[{n}]")

    def _timed(self, cell: Cell, where: str) -> Cell:
        """With the measured step time, if its budget is in seconds and the sweep names a pace file."""
        if self.pace is None or cell.training.seconds is None:
            return cell
        found = self.pace.step_seconds.get(cell.steps)
        if found is None:
            raise InvalidInput(f"{where}: {cell}: the pace file has no step time of it; {_MEASURE}")
        return cell.model_copy(update={"training": cell.training.model_copy(update={"step_seconds": found})})


_MEASURE = "write one with modulewise pace --out FILE, of this sweep without the key pace"


def _settings(base: dict[str, Any], change: dict[str, Any], where: str) -> dict[str, Any]:
    """Training settings with changes; a new budget takes the place of the old one."""
    budgets = {"epochs", "flops", "seconds"}
    if len(budgets & set(change)) > 1:
        raise InvalidInput(f"{where}: training: give one budget: epochs, flops or seconds")
    drop = budgets | {"step_seconds"} if budgets & set(change) else set()
    return {k: v for k, v in base.items() if k not in drop} | change


def load_sweep(config: dict[str, Any] | Path, root: Path, where: str = "config", tuned: Path = FOLDER) -> tuple[Sweep, Book, list[Cell]]:
    """Parse a sweep and resolve all its cells; of one that tunes and has not yet, the trials' cells.

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
    book = Book(root / sweep.recipes, root / sweep.datasets)
    if sweep.pace:
        if not (root / sweep.pace).exists():
            raise InvalidInput(f"{where}: pace: {root / sweep.pace}: No such file; {_MEASURE}")
        book.pace = parse(StepTimes, read_yaml(root / sweep.pace), str(root / sweep.pace))
    cells = book.cells(sweep, where)
    if sweep.exhibit:
        check_exhibit(sweep.exhibit, cells, where)
    if sweep.tune:
        book.trials = trials(sweep, book, where)
        book.tuned = read_tuned(tuned / f"{sweep.sweep}.json", plan_of(book.trials))
        tried = [cell for found in book.trials.values() for _, mine in found for cell in mine]
        cells = book.cells(sweep, where) if book.tuned else tried
    return sweep, book, cells


def sweep_argument(text: str) -> tuple[dict[str, Any] | Path, str]:
    """A sweep given on the command line: the path of a file, or JSON text. Returns it with its name for messages."""
    if not text.lstrip().startswith("{"):
        return Path(text), text
    return read_json(text, "--sweep"), "configuration"
