"""Cells that are the very same training: one is trained, every row keeps its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from modulewise.config.plan import Plan, load_plan
from modulewise.errors import InvalidInput

RECIPES: dict[str, Any] = {
    "training": {"paper": {"source": "made up", "set": {"epochs": 3, "batch_size": 64}}},
    "recipes": {
        "backprop": {"method": "backprop", "label": "Backprop", "modules": "one"},
        "e": {"method": "contsup", "label": "E", "options": {"context": "E"}},
        "r1e": {
            "method": "contsup",
            "label": "R1E",
            "options": {"context": "R1E"},
            "same_as": {"e": [2]},
        },
        "r2e": {
            "method": "contsup",
            "label": "R2E",
            "options": {"context": "R2"},
            "same_as": {"r1e": [2, 3]},
        },
    },
}
DATASETS = {"datasets": {"fake": {"source": "fake", "shape": [3, 16, 16], "classes": 4}}}
GRID = {"datasets": ["fake"], "networks": ["resnet8"], "modules": [2, 3], "seeds": 2}


def plan(
    folder: Path, recipes: list[str], change: dict[str, Any] | None = None, **more: Any
) -> Plan:
    content = {"training": RECIPES["training"], "recipes": dict(RECIPES["recipes"])}
    for name, changed in (change or {}).items():
        content["recipes"][name] = content["recipes"][name] | changed
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config/recipes.yaml").write_text(yaml.safe_dump(content))
    (folder / "config/datasets.yaml").write_text(yaml.safe_dump(DATASETS))
    sweep = {"sweep": "s", "grids": [GRID | {"recipes": recipes}], **more}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    return load_plan(folder / "sweep.yaml", folder)


def same(found: Plan) -> set[tuple[str, int, str]]:
    """(recipe, K, recipe that is trained for it)."""
    rows = [c for _, c in found.rows if c.path in found.same]
    assert all(found.run_of(c).seed == c.seed for c in rows)
    return {(c.recipe, c.modules, found.run_of(c).recipe) for c in rows}


def test_one_is_trained_and_every_row_stays(tmp_path: Path) -> None:
    found = plan(tmp_path, ["backprop", "r1e", "e"])
    assert same(found) == {("r1e", 2, "e")}
    assert len(found.rows) == 2 + 4 + 4 and len(found.cells) == len(found.reported) == 8
    alone = plan(tmp_path, ["backprop", "e"])
    assert {c.path for c in alone.cells} < {c.path for c in found.cells}, "ids stay"


def test_without_the_other_a_recipe_is_trained_by_itself(tmp_path: Path) -> None:
    found = plan(tmp_path, ["r1e"])
    assert not found.same and {c.recipe for c in found.cells} == {"r1e"} and len(found.cells) == 4


def test_of_several_the_last_one_is_trained(tmp_path: Path) -> None:
    found = plan(tmp_path, ["r2e", "r1e", "e"])
    assert same(found) == {("r1e", 2, "e"), ("r2e", 2, "e"), ("r2e", 3, "r1e")}
    assert len(found.cells) == 4 + 2


@pytest.mark.parametrize(
    "change",
    [
        {"r1e": {"partition": "memory"}},
        {"r1e": {"options": {"context": "R1E", "temperature": 0.1}}, "e": {"options": {}}},
        {"r1e": {"overrides": [{"when": {}, "source": "x", "set": {"options": {"head": "1c1f"}}}]}},
        {"e": {"overrides": [{"when": {}, "source": "x", "set": {"training": {"lr": 0.3}}}]}},
        {"e": {"overrides": [{"when": {}, "source": "x", "set": {"options": {"context": "R4"}}}]}},
    ],
)
def test_what_differs_in_more_is_trained_twice(change: dict[str, Any], tmp_path: Path) -> None:
    """But for an option that the recipes themselves give differently, which the test of declared
    recipes has seen."""
    found = plan(tmp_path, ["e", "r1e"], change)
    declared = "temperature" in str(change)
    assert bool(found.same) == declared
    assert len(found.cells) == 8 - 2 * declared


@pytest.mark.parametrize(
    ("same_as", "message"),
    [
        ({"ee": [2]}, "recipes.r1e.same_as: unknown recipe 'ee'; did you mean 'e'?"),
        ({"backprop": [2]}, "recipes.r1e.same_as: backprop is not another recipe of its method"),
        ({"r1e": [2]}, "recipes.r1e.same_as: r1e is not another recipe of its method"),
        ({"e": [0]}, "recipes.r1e.same_as.e[0]"),
    ],
)
def test_a_wrong_declaration_is_told_in_one_line(
    same_as: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput) as caught:
        plan(tmp_path, ["e"], {"r1e": {"same_as": same_as}})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_recipes_that_name_each_other_end(tmp_path: Path) -> None:
    found = plan(tmp_path, ["e", "r1e"], {"e": {"same_as": {"r1e": [2]}}})
    assert len(found.cells) == 6 and len(found.same) == 2


def test_contrasts_and_studies_find_the_run(tmp_path: Path) -> None:
    terms = [{"recipe": "r1e", "modules": 2}, {"recipe": "backprop"}]
    contrast = {"name": "c", "hypothesis": "h", "difference": terms}
    found = plan(
        tmp_path,
        ["backprop", "e", "r1e"],
        analysis={"n": 2, "primary": [contrast]},
        studies={"probe": {"recipes": ["r1e"]}},
    )
    assert {(s.cell.recipe, s.cell.modules) for s in found.studies} == {("e", 2), ("r1e", 3)}
    assert len(found.studies) == 4
    both = plan(tmp_path, ["e", "r1e"], studies={"probe": {}})
    assert len(both.studies) == len(both.cells) == 6
    assert all(found.keeps_weights(s.cell) for s in found.studies)
