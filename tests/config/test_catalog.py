"""From recipes and grids to cells: order of precedence, conditions, budgets, and errors that name
the place and the choices."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from modulewise.cli.check import check
from modulewise.config.cell import Cell
from modulewise.config.partition import Budget
from modulewise.config.plan import load_plan
from modulewise.config.recipes import When
from modulewise.config.resolve import Catalog
from modulewise.config.sweep import Sweep
from modulewise.errors import InvalidInput, parse

ROOT = Path(__file__).parents[2]
DATASETS: dict[str, Any] = {
    "datasets": {
        name: {"source": "fake", "shape": [3, 8, 8], "classes": 4} for name in ("red", "blue")
    }
}


def recipes() -> dict[str, Any]:
    """A small book: shared settings with an override, a table, three recipes."""
    return {
        "training": {
            "paper": {
                "source": "x",
                "set": {"epochs": 50, "lr": 0.5},
                "overrides": [
                    {"when": {"dataset": "red"}, "set": {"training": {"lr": 0.4}}, "source": "x"}
                ],
            }
        },
        "tables": {
            "cuts": [{"when": {"modules": 2}, "set": {"partition": ["1.0"]}, "source": "x"}]
        },
        "recipes": {
            "plain": {"method": "backprop", "label": "Plain", "modules": "one"},
            "local": {
                "method": "dgl",
                "label": "Local",
                "options": {"feature_dim": 32},
                "overrides": ["cuts"],
            },
            "info": {"method": "infopro", "label": "Info"},
        },
    }


def write(
    folder: Path, content: dict[str, Any] | None = None, datasets: dict[str, Any] | None = None
) -> Catalog:
    (folder / "recipes.yaml").write_text(yaml.safe_dump(content or recipes()))
    (folder / "datasets.yaml").write_text(yaml.safe_dump(datasets or DATASETS))
    return Catalog(folder / "recipes.yaml", folder / "datasets.yaml")


def cell(
    folder: Path,
    content: dict[str, Any] | None = None,
    recipe: str = "local",
    k: int = 2,
    **more: Any,
) -> Cell:
    return write(folder, content).cell(
        more.pop("dataset", "blue"), more.pop("network", "resnet8"), recipe, k, 0, **more
    )


def override(when: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"when": when, "set": changes, "source": "x"}


def with_overrides(*overrides: Any) -> dict[str, Any]:
    content = recipes()
    content["recipes"]["local"]["overrides"] = list(overrides)
    return content


# Precedence.


def test_defaults_then_recipe(tmp_path: Path) -> None:
    made = cell(tmp_path)
    assert made.options == {"feature_dim": 32}
    assert (made.training.epochs, made.training.lr, made.training.batch_size) == (50, 0.5, 1024)
    assert made.partition == ("1.0",)


def test_shared_overrides_then_the_recipes_own_then_the_grid(tmp_path: Path) -> None:
    mine = override({"dataset": "red"}, training={"lr": 0.3, "momentum": 0.5})
    content = with_overrides(mine)
    assert cell(tmp_path, dataset="red").training.lr == 0.4
    assert cell(tmp_path, content, dataset="red").training.lr == 0.3
    last = cell(tmp_path, content, dataset="red", training={"lr": 0.2}).training
    assert (last.lr, last.momentum, last.epochs) == (0.2, 0.5, 50)


def test_later_overrides_win(tmp_path: Path) -> None:
    first, second = (
        override({}, options={"feature_dim": 1, "head": "1c1f"}),
        override({}, options={"feature_dim": 2}),
    )
    assert cell(tmp_path, with_overrides(first, second)).options == {
        "feature_dim": 2,
        "head": "1c1f",
    }
    assert cell(tmp_path, with_overrides(second, first)).options == {
        "feature_dim": 1,
        "head": "1c1f",
    }


def test_tables_stand_where_they_are_named(tmp_path: Path) -> None:
    own = override({}, partition=["2.0"])
    assert cell(tmp_path, with_overrides("cuts", own)).partition == ("2.0",)
    assert cell(tmp_path, with_overrides(own, "cuts")).partition == ("1.0",)


def test_editing_one_override_changes_the_cells_it_touches_and_no_other(tmp_path: Path) -> None:
    ids = []
    for lr in (0.3, 0.2):
        content = with_overrides(override({"modules": 3}, training={"lr": lr}))
        ids.append([cell(tmp_path, content, k=k).id for k in (2, 3, 4)])
    assert [a == b for a, b in zip(*ids, strict=True)] == [True, False, True]


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({}, True),
        ({"dataset": "red"}, True),
        ({"dataset": "blue"}, False),
        ({"dataset": ["blue", "red"]}, True),
        ({"network": "resnet8", "modules": 4}, True),
        ({"network": "resnet8", "modules": 2}, False),
        ({"modules": [2, 4]}, True),
        ({"modules": [2, 8]}, False),
        ({"network": ["resnet14"], "dataset": "red", "modules": 4}, False),
        ({"network": "resnet80"}, False),
    ],
    ids=str,
)
def test_every_condition_that_is_given_must_hold(when: dict[str, Any], holds: bool) -> None:
    assert When(**when).holds("red", "resnet8", 4) is holds


# Budgets.


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({"flops": 1e9}, {"epochs": 160, "flops": 1e9, "seconds": None}),
        ({"seconds": 5}, {"epochs": 160, "flops": None, "seconds": 5}),
        ({"epochs": 7}, {"epochs": 7, "flops": None, "seconds": None}),
        ({"lr": 0.1}, {"epochs": 50, "flops": None, "seconds": None}),
    ],
)
def test_a_new_budget_takes_the_place_of_the_old_one(
    grid: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    training = cell(tmp_path, training=grid).training
    assert {name: getattr(training, name) for name in expected} == expected


def test_epochs_take_the_place_of_flops(tmp_path: Path) -> None:
    content = recipes()
    content["training"]["paper"]["set"] = {"flops": 1e9}
    training = cell(tmp_path, content, training={"epochs": 3}).training
    assert (training.epochs, training.flops) == (3, None)


def test_epochs_that_flops_replaced_are_no_part_of_the_id(tmp_path: Path) -> None:
    content = recipes()
    before = cell(tmp_path, content, training={"flops": 1e9}).id
    content["training"]["paper"]["set"]["epochs"] = 70
    assert cell(tmp_path, content, training={"flops": 1e9}).id == before


# Grids.


def sweep(*grids: dict[str, Any]) -> Sweep:
    base = {
        "datasets": ["blue"],
        "networks": ["resnet8"],
        "recipes": ["local"],
        "modules": [2],
        "seeds": 1,
    }
    return Sweep.model_validate({"sweep": "s", "grids": [base | g for g in grids]})


def cells(folder: Path, *grids: dict[str, Any]) -> list[Cell]:
    return [cell for _, cell in write(folder).cells(sweep(*grids))]


def test_a_grid_is_a_product(tmp_path: Path) -> None:
    made = cells(
        tmp_path,
        {
            "datasets": ["red", "blue"],
            "networks": ["resnet8", "resnet14"],
            "modules": [2, 3],
            "seeds": 3,
        },
    )
    places = [(c.dataset, c.network, c.modules, c.seed) for c in made]
    assert len(places) == len(set(places)) == 24
    assert len({c.id for c in made}) == len({c.path for c in made}) == 24


@pytest.mark.parametrize(("seeds", "expected"), [(3, [0, 1, 2]), ([7, 2], [7, 2]), (1, [0])])
def test_seeds_are_a_number_or_a_list(
    seeds: int | list[int], expected: list[int], tmp_path: Path
) -> None:
    assert [c.seed for c in cells(tmp_path, {"seeds": seeds})] == expected


def test_a_recipe_that_does_not_cut_has_one_cell_beside_all_k(tmp_path: Path) -> None:
    made = cells(tmp_path, {"recipes": ["plain", "local"], "modules": [2, 3, 4], "seeds": 2})
    assert [(c.recipe, c.modules) for c in made if c.seed == 0] == [
        ("plain", 1),
        ("local", 2),
        ("local", 3),
        ("local", 4),
    ]
    assert len(made) == 8


@pytest.mark.parametrize(
    "grids",
    [
        [{"seeds": [0, 0]}],
        [{"networks": ["resnet8", "resnet8"]}],
        [{}, {"modules": [3, 2]}],
        [{"recipes": ["plain"]}, {"recipes": ["plain"], "modules": [4]}],
    ],
    ids=["seeds", "networks", "grids", "one-cell-recipes"],
)
def test_the_same_cell_twice_is_refused(grids: list[dict[str, Any]], tmp_path: Path) -> None:
    last = len(grids) - 1
    with pytest.raises(
        InvalidInput, match=rf"^sweep: grids\[{last}\]: duplicate cell .*, already in grids\[0\]"
    ):
        cells(tmp_path, *grids)


def test_settings_of_a_grid_make_other_cells(tmp_path: Path) -> None:
    made = cells(tmp_path, {}, {"training": {"lr": 0.1}})
    assert [c.training.lr for c in made] == [0.5, 0.1]


# Errors.


def broken(change: Any) -> dict[str, Any]:
    content = recipes()
    change(content)
    return content


BROKEN: dict[str, tuple[Any, str]] = {
    "top": (
        lambda c: c.update(recipe={}),
        "recipes.yaml: unknown key 'recipe'; did you mean "
        "'recipes'. valid: recipes, tables, training",
    ),
    "settings": (
        lambda c: c["training"]["paper"].update(sets={}),
        r"recipes.yaml: training.paper: "
        r"unknown key 'sets'; did you "
        r"mean 'set'",
    ),
    "recipe": (
        lambda c: c["recipes"]["info"].update(option={}),
        r"recipes.info: unknown key "
        r"'option'; did you mean 'options'",
    ),
    "table": (
        lambda c: c["tables"]["cuts"][0]["set"].update(cuts=[]),
        r"tables.cuts\[0\].set: "
        r"unknown key 'cuts'; "
        r".*options, partition",
    ),
    "condition": (
        lambda c: c["tables"]["cuts"][0]["when"].update(net=1),
        r"tables.cuts\[0\].when: "
        r"unknown key 'net'; "
        r".*network",
    ),
    "option": (
        lambda c: c["recipes"]["info"].update(options={"mod": 1}),
        "recipes.info.options: unknown key 'mod'; did you mean 'mode'",
    ),
    "method": (
        lambda c: c["recipes"]["info"].update(method="inforpo"),
        "recipes.info.method: .*'inforpo'; did you mean 'infopro'",
    ),
    "settings name": (
        lambda c: c["recipes"]["info"].update(training="papr"),
        "recipes.info.training: .*'papr'; did you mean 'paper'",
    ),
    "table name": (
        lambda c: c["recipes"]["info"].update(overrides=["cutz"]),
        "recipes.info.overrides: .*'cutz'; did you mean 'cuts'",
    ),
    "label": (lambda c: c["recipes"]["info"].pop("label"), "recipes.info.label: missing"),
    "source": (lambda c: c["tables"]["cuts"][0].pop("source"), r"tables.cuts\[0\].source: missing"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_book_is_refused_in_one_line_that_names_file_place_and_choices(
    what: str, tmp_path: Path
) -> None:
    change, message = BROKEN[what]
    with pytest.raises(InvalidInput, match=message) as error:
        write(tmp_path, broken(change))
    assert str(tmp_path / "recipes.yaml") in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_key_of_a_data_set(tmp_path: Path) -> None:
    wrong = {"datasets": {"red": {"source": "npz", "path": "x", "pads": 1}}}
    with pytest.raises(
        InvalidInput, match=r"datasets.yaml: datasets.red: unknown key 'pads'; did you mean 'pad'\?"
    ):
        write(tmp_path, datasets=wrong)


@pytest.mark.parametrize(
    ("place", "wrong", "message"),
    [
        ("dataset", "blu", "unknown data set 'blu'; did you mean 'blue'. valid: blue, red"),
        (
            "recipe",
            "lokal",
            "unknown recipe 'lokal'; did you mean 'local'. valid: info, local, plain",
        ),
    ],
)
def test_unknown_names_of_a_cell(place: str, wrong: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        cell(tmp_path, **{place: wrong})


def test_settings_that_are_wrong_only_in_an_override_are_refused_with_the_cell(
    tmp_path: Path,
) -> None:
    for changes, message in (
        ({"training": {"epoch": 3}}, "training: unknown key 'epoch'; did you mean 'epochs'"),
        ({"options": {"heads": "1c2f"}}, "options: unknown key 'heads'; did you mean 'head'"),
    ):
        with pytest.raises(InvalidInput, match="blue resnet8 local K=2: .*" + message):
            cell(tmp_path, with_overrides(override({}, **changes)))


def test_a_sweep_is_read_with_its_files(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "sweep.yaml"
    content = sweep({"seeds": 2}).model_dump(mode="json") | {
        "recipes": "recipes.yaml",
        "datasets": "datasets.yaml",
    }
    path.write_text(yaml.safe_dump(content))
    plan = load_plan(path, tmp_path)
    assert (plan.sweep.sweep, len(plan.cells)) == ("s", 2)
    content["grids"][0]["recipes"] = ["dlg"]
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InvalidInput, match=r"sweep.yaml: grids\[0\]: unknown recipe 'dlg'"):
        load_plan(path, tmp_path)


@pytest.mark.parametrize(("text", "message"), [(": [", "no valid YAML"), (None, "No such file")])
def test_an_unreadable_file_is_refused_in_one_line(
    text: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "sweep.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInput, match=message) as error:
        load_plan(path, tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_repositorys_own_sweeps_are_valid() -> None:
    root = Path(__file__).parents[2]
    for path in sorted((root / "config").glob("papers/*.yaml")):
        assert load_plan(path, root).cells, path


def test_a_wrong_published_number_is_found_before_the_first_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("recipes.yaml", "datasets.yaml", "references.csv"):
        shutil.copy(ROOT / "config" / name, tmp_path)
    grid = {
        "datasets": ["fake"],
        "networks": ["resnet8"],
        "recipes": ["dgl"],
        "modules": [2],
        "seeds": 1,
    }
    sweep = {"sweep": "s", "recipes": "recipes.yaml", "datasets": "datasets.yaml", "grids": [grid]}
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep))
    check(path, tmp_path)
    assert "1 cells" in capsys.readouterr().out
    text = (tmp_path / "references.csv").read_text().replace(",sd,", ",stdev,", 1)
    (tmp_path / "references.csv").write_text(text)
    with pytest.raises(InvalidInput, match=r"references\.csv: line \d+: spread_kind"):
        check(path, tmp_path)


def test_a_grids_partition_is_for_the_recipes_that_cut(tmp_path: Path) -> None:
    """It takes the place of the recipe's and its overrides'."""
    grid = {
        "datasets": ["red"],
        "networks": ["resnet8"],
        "recipes": ["plain", "local"],
        "modules": [2],
        "seeds": 1,
    }
    sweep = {"sweep": "s", "grids": [grid | {"partition": {"budget": "1GiB"}}]}
    plain, local = write(tmp_path).cells(parse(Sweep, sweep, "s"))
    assert plain.cell.partition == "even"
    assert local.cell.partition == Budget(budget=2**30)
