"""Recipes that are declared to be the very same training (`same_as`) are: bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from cases import IMAGES, TRAINING, same, trainer_of
from modulewise.config.cell import Cell
from modulewise.config.resolve import Catalog
from modulewise.config.training import TrainConfig

ROOT = Path(__file__).parents[2]
CATALOG = Catalog(ROOT / "config/recipes.yaml", ROOT / "config/datasets.yaml")
DECLARED = [
    (name, other, k)
    for name, recipe in CATALOG.recipes.recipes.items()
    for other, modules in recipe.same_as.items()
    for k in modules
]

pytestmark = pytest.mark.usefixtures("uncounted")


def cell_of(recipe: str, modules: int) -> Cell:
    found = CATALOG.recipes.recipes[recipe]
    return Cell(
        dataset="fake",
        network="resnet8",
        recipe=recipe,
        modules=modules,
        seed=3,
        method=found.method,
        options=found.options,
        training=TrainConfig(**TRAINING),
        data=IMAGES,
    )


@pytest.mark.parametrize(("recipe", "other", "modules"), DECLARED)
def test_declared_recipes_train_the_same(
    recipe: str, other: str, modules: int, tmp_path: Path
) -> None:
    mine, its = (trainer_of(cell_of(name, modules), tmp_path / name) for name in (recipe, other))
    ends = [trainer.fit() for trainer in (mine, its)]
    assert same(mine.method.state_dict(), its.method.state_dict())
    losses = [
        [
            {k: v for k, v in epoch.items() if k.startswith("train_loss")}
            for epoch in t.progress.history
        ]
        for t in (mine, its)
    ]
    assert losses[0] == losses[1] and losses[0][0]
    for name in ("test_last", "module_metrics", "horizon", "cuts"):
        assert getattr(ends[0], name) == getattr(ends[1], name)
    for name in ("parameters", "helper_parameters", "inference_parameters", "inference_macs"):
        assert getattr(ends[0].cost, name) == getattr(ends[1].cost, name)
    own, shown = (end.cost.peak_memory_bytes for end in ends)
    assert own and shown and 0.95 * own < shown <= own, "a feature that nobody reads may stay alive"


def test_recipes_that_are_not_declared_differ(tmp_path: Path) -> None:
    """The comparison above can fail: with three modules the two are different trainings."""
    mine, its = (trainer_of(cell_of(n, 3), tmp_path / n) for n in ("contsup-r1e", "contsup-e"))
    for trainer in (mine, its):
        trainer.fit()
    assert not same(mine.method.state_dict(), its.method.state_dict())
