"""A small sweep whose runs are written by hand, so that every number of its report can be worked
out."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure

from modulewise.config.cell import Cell
from modulewise.config.plan import Plan, load_plan, make_plan
from modulewise.config.resolve import Catalog
from modulewise.config.sweep import Sweep
from modulewise.report import build, gallery
from modulewise.runs.provenance import source_hash
from modulewise.runs.record import Record
from modulewise.runs.result import Cost, Needs, Origin, PrimaryMetric, Result, Secondary

RECIPES = """
training:
  paper: {source: made up, set: {epochs: 3, batch_size: 64}}
  large: {source: made up, set: {epochs: 3, batch_size: 128}}
  shared: {source: made up, set: {epochs: 3, batch_size: 64, devices: 2}}
recipes:
  backprop: {method: backprop, label: Backprop, modules: one}
  dgl: {method: dgl, label: "DGL & co_1", paper: "arXiv 1901.08164", note: "heads <ours>"}
  greedy: {method: greedy, label: Greedy}
  floor: {method: forward_forward, label: Floor, experimental: true}
  whole: {method: backprop, label: Whole, modules: one, experimental: true}
  large: {method: greedy, label: Large batches, training: large}
  shared: {method: greedy, label: Shared batches, training: shared}
  twin: {method: dgl, label: Twin, options: {feature_dim: 64}, same_as: {dgl: [2]}}
"""
DATASETS = """
datasets:
  fake: {source: fake, shape: [3, 16, 16], classes: 4}
  pixels: {source: fake, shape: [3, 16, 16], classes: 4}
"""
GRID: dict[str, Any] = {"datasets": ["fake"], "networks": ["resnet8"]}
SWEEP: dict[str, Any] = {
    "sweep": "small",
    "title": "A small <sweep>",
    "grids": [GRID | {"recipes": ["backprop", "dgl", "greedy"], "modules": [2, 4], "seeds": 4}],
}


@dataclass(frozen=True)
class Site:
    """A sweep, its cells and a folder of runs, with what a test does to them."""

    root: Path
    plan: Plan
    metrics: dict[str, PrimaryMetric] = field(default_factory=dict)
    """Data set -> the primary metric of its runs, if not test error."""

    @property
    def sweep(self) -> Sweep:
        return self.plan.sweep

    @property
    def catalog(self) -> Catalog:
        return self.plan.catalog

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.plan.cells

    def other(self, **changes: Any) -> Site:
        """The same folder and catalog; these keys of the sweep's first grid are other ones."""
        grid = self.sweep.grids[0].model_copy(update=changes)
        sweep = self.sweep.model_copy(update={"grids": [grid]})
        return Site(self.root, make_plan(sweep, self.catalog), self.metrics)

    def studied(self, **studies: Any) -> Site:
        """The same folder and catalog; the sweep has these studies."""
        sweep = Sweep.model_validate(self.sweep.model_dump() | {"studies": studies})
        return Site(self.root, make_plan(sweep, self.catalog), self.metrics)

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def cell(
        self, recipe: str, modules: int, seed: int, dataset: str | None = None, **training: Any
    ) -> Cell:
        """The sweep's cell of this name."""
        found = [c for c in self.cells if (c.recipe, c.modules, c.seed) == (recipe, modules, seed)]
        found = [c for c in found if dataset in (None, c.dataset)]
        (cell,) = [
            c for c in found if all(getattr(c.training, k) == v for k, v in training.items())
        ]
        return cell

    def run(
        self,
        cell: Cell,
        value: float | None,
        status: str = "done",
        reason: str | None = None,
        *,
        best: float | None = None,
        horizon: int = 1,
        planned: int = 3,
        needs: Needs | None = None,
        secondary: tuple[Secondary, ...] = (),
        **values: Any,
    ) -> Path:
        """Write a finished run, `best` its best value; `values` go to its cost or origin by name.
        Returns its folder."""
        folder = self.runs / cell.path
        folder.mkdir(parents=True)
        metric = self.metrics.get(cell.dataset, PrimaryMetric())
        lower = metric.direction == "lower"
        worse = 5.0 if lower else -5.0
        cost = Cost(
            peak_memory_bytes=1000,
            memory_source="cuda allocator",
            step_seconds=0.1,
            trunk_flops=300.0,
            helper_flops=100.0 * (cell.modules - 1),
            parameters=1000,
            helper_parameters=10 * (cell.modules - 1),
            inference_parameters=900,
            inference_macs=500.0,
        ).model_copy(update={k: v for k, v in values.items() if k in Cost.model_fields})
        origin = Origin(
            device="GPU A",
            exclusive=True,
            host="h",
            starts=1,
            commit="abc",
            source=source_hash(cell),
            versions={"torch": "1.0"},
        ).model_copy(update={k: v for k, v in values.items() if k in Origin.model_fields})
        result = Result(
            cell=cell,
            status=status,  # type: ignore[arg-type]
            reason=reason,
            epochs=3,
            planned_epochs=planned,
            metric=metric,
            test_last=value,
            test_best_epoch=value if best is None else best,
            module_metrics=[None if value is None else value + worse] * (cell.modules - 1)
            + [value],
            secondary=list(secondary),
            cuts=list(range(1, cell.modules)),
            horizon=horizon,
            cost=cost,
            needs=needs,
            origin=origin,
        )
        if value is not None:
            record = Record(folder)
            record.write("start", epochs=3, metric=metric.model_dump())
            curve = [value * (4 - n) if lower else value / (4 - n) for n in (1, 2, 3)]
            for epoch in (1, 2, 3):
                record.metrics(epoch, {f"test_{metric.name}/overall": curve[epoch - 1]})
            record.write("end", status=status)
            record.close()
        result.save(folder)
        return folder

    def report(self) -> str:
        """Build the report and return the page."""
        return build(self.plan, self.runs, self.root / "out").read_text()

    def words(self) -> str:
        """Build the report and return its words, without tags."""
        return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", self.report())))

    def fill(
        self,
        recipe: str,
        modules: int,
        reached: list[float],
        dataset: str | None = None,
        **values: Any,
    ) -> None:
        """Write a finished run per value of the primary metric, seeds counted from 0."""
        for seed, value in enumerate(reached):
            self.run(self.cell(recipe, modules, seed, dataset), value, **values)

    def table(self, name: str = "headline_fake_resnet8") -> pd.DataFrame:
        """A table of the report, read back."""
        return pd.read_csv(self.root / "out" / "tables" / f"{name}.csv")

    def row(self, recipe: str, modules: int) -> pd.Series:
        """The headline's row of a recipe and K."""
        table = self.table()
        (row,) = [
            r for _, r in table.iterrows() if (r["recipe"], r["modules"]) == (recipe, modules)
        ]
        return row


@pytest.fixture
def drawn() -> None:
    """For tests that look at figures: they are drawn, which takes seconds a report."""


@pytest.fixture
def sketched() -> None:
    """For tests that ask which figures there are: they are made, and not drawn."""


@pytest.fixture(autouse=True)
def _figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests have none."""
    if "sketched" in request.fixturenames:
        monkeypatch.setattr(
            Figure, "savefig", lambda self, file, **options: file.write(b"<svg></svg>")
        )
    elif "drawn" not in request.fixturenames:
        monkeypatch.setattr(gallery, "figure", lambda *_, **__: iter(()))


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Site]:
    """Make a `Site`, of `SWEEP` or another sweep."""

    def make(sweep: dict[str, Any] | None = None) -> Site:
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config/recipes.yaml").write_text(RECIPES)
        (tmp_path / "config/datasets.yaml").write_text(DATASETS)
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(sweep or SWEEP))
        return Site(tmp_path, load_plan(path, tmp_path))

    return make
