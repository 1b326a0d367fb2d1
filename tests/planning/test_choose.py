"""Tuning: equal numbers of trials, other seeds, held-out images, and a choice that never sees a
test error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from modulewise.config import trials
from modulewise.config.cell import Cell
from modulewise.config.plan import Plan, load_plan
from modulewise.errors import InvalidInput
from modulewise.planning import choose
from modulewise.runs.result import Cost, Origin, PrimaryMetric, Result

ROOT = Path(__file__).parents[2]
TUNE: dict[str, Any] = {
    "trials": 4,
    "validation": 32,
    "seeds": [100, 101],
    "training": {"lr": [0.1, 0.2, 0.4, 0.8]},
    "options": {"infopro": {"lambda1": [[5, 5], [1, 1]]}},
}
SWEEP: dict[str, Any] = {
    "sweep": "tuned",
    "grids": [
        {
            "datasets": ["fake"],
            "networks": ["resnet8"],
            "recipes": ["backprop", "dgl", "infopro"],
            "modules": [2, 3],
            "seeds": 3,
        }
    ],
    "tune": TUNE,
}


ERROR = PrimaryMetric()
MIOU = PrimaryMetric(name="mIoU", label="mIoU", direction="higher")


def load(folder: Path, **tune: Any) -> Plan:
    """The plan of the sweep; what was chosen lies beside it."""
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump(SWEEP | {"tune": TUNE | tune}))
    return load_plan(path, ROOT, folder)


def finish(
    cell: Cell,
    runs: Path,
    validation: float | None,
    test: float = 50.0,
    status: Any = "done",
    metric: PrimaryMetric = ERROR,
) -> None:
    """Write the result of a trial."""
    folder = runs / cell.path
    folder.mkdir(parents=True, exist_ok=True)
    origin = Origin(
        device="cpu", exclusive=True, host="h", starts=1, commit=None, source="s", versions={}
    )
    result = Result(
        cell=cell,
        status=status,
        epochs=1,
        planned_epochs=1,
        metric=metric,
        test_last=test,
        val_last=validation,
        cuts=[],
        cost=Cost(),
        origin=origin,
    )
    result.save(folder)


def test_every_recipe_and_k_has_as_many_trials_and_the_first_is_the_recipe_as_it_stands(
    tmp_path: Path,
) -> None:
    plan = load(tmp_path)
    cells = plan.cells
    assert [len(tried) for tried in plan.trials.values()] == [4] * 5
    assert {point[3:] for point in plan.trials} == {
        ("backprop", 1),
        ("dgl", 2),
        ("dgl", 3),
        ("infopro", 2),
        ("infopro", 3),
    }
    assert len(cells) == len({c.path for c in cells}) == 5 * 4 * 2
    for point, tried in plan.trials.items():
        first, (own, _) = tried[0]
        assert (first.training, first.options) == ({}, {})
        plain = plan.catalog.cell(*point[1:], 100)
        assert own.training == plain.training and own.options == plain.options
        assert len({cells[0].id for _, cells in tried}) == 4
        assert any("lambda1" in t.options for t, _ in tried) == (point.recipe == "infopro")


def test_trials_hold_images_out_and_use_seeds_that_are_not_reported(tmp_path: Path) -> None:
    cells = load(tmp_path).cells
    assert {c.seed for c in cells} == {100, 101}
    assert {c.data.validation for c in cells} == {32}
    with pytest.raises(
        InvalidInput,
        match=r"x\.yaml: tune\.seeds: 2 of grids\[0\] too; tune with seeds that are not reported",
    ):
        load(tmp_path, seeds=[2, 7])


def test_the_draw_is_named_by_its_seed(tmp_path: Path) -> None:
    assert load(tmp_path).cells == load(tmp_path).cells
    many = {"training": {"lr": [0.01 * n for n in range(1, 40)]}}
    assert load(tmp_path, **many).cells != load(tmp_path, **many, draw=1).cells


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": 5}, "x.yaml: tune: backprop has 4 different settings, 5 trials need as many"),
        (
            {"options": {"greedy": {"x": [1]}}},
            "x.yaml: tune.options: unknown recipe of the sweep 'greedy'",
        ),
        ({"options": {"dgl": {"hed": ["1c2f"]}}}, "unknown key 'hed'; did you mean 'head'?"),
        ({"training": {"learning_rate": [1]}}, "unknown key 'learning_rate'"),
        ({"trial": 5}, "unknown key 'trial'; did you mean 'trials'?"),
    ],
)
def test_a_wrong_search_is_told_in_one_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, **change)
    assert message in str(caught.value)


@pytest.mark.parametrize(("metric", "best"), [(ERROR, 2), (MIOU, 3)])
def test_the_best_on_validation_is_chosen_whatever_the_test_set_says(
    tmp_path: Path, metric: PrimaryMetric, best: int
) -> None:
    plan = load(tmp_path)
    for tried in plan.trials.values():
        for n, (_, cells) in enumerate(tried):
            for cell in cells:
                finish(
                    cell,
                    tmp_path,
                    validation=[30.0, 20.0, 10.0, 40.0][n],
                    test=[1.0, 95.0, 90.0, 3.0][n],
                    metric=metric,
                )
    tuned = choose.judge(plan.trials, tmp_path)
    assert [c.chosen for c in tuned.choices] == [best] * 5
    choose.write(tuned, tmp_path / "tuned.json")
    after = load(tmp_path)
    cells = after.cells
    assert after.tuned == tuned and not after.tuning
    assert (
        len(cells) == 5 * 3
        and {c.seed for c in cells} == {0, 1, 2}
        and {c.data.validation for c in cells} == {0}
    )
    for cell in cells:
        (point,) = [
            p
            for p in plan.trials
            if p[1:] == (cell.dataset, cell.network, cell.recipe, cell.modules)
        ]
        trial, (tried, _) = plan.trials[point][best]
        assert cell.training == tried.training and cell.options == tried.options
        assert trial.training or trial.options


def test_a_trial_that_failed_is_spent_and_not_chosen(tmp_path: Path) -> None:
    plan = load(tmp_path)
    for tried in plan.trials.values():
        for n, (_, cells) in enumerate(tried):
            for seed, cell in enumerate(cells):
                failed = n == 1 and seed == 1
                finish(
                    cell,
                    tmp_path,
                    5.0 if n == 1 else 20.0 + n,
                    status="diverged" if failed else "done",
                )
    tuned = choose.judge(plan.trials, tmp_path)
    assert [c.chosen for c in tuned.choices] == [0] * 5
    assert all(len(c.trials) == 4 and c.trials[1].validation is None for c in tuned.choices)


def test_no_choice_before_all_trials_are_there_or_when_none_finished(tmp_path: Path) -> None:
    plan = load(tmp_path)
    cells = plan.cells
    for cell in cells[1:]:
        finish(cell, tmp_path, None, status="diverged")
    with pytest.raises(InvalidInput, match="has no result; train the trials first"):
        choose.judge(plan.trials, tmp_path)
    finish(cells[0], tmp_path, None, status="diverged")
    with pytest.raises(InvalidInput, match="no trial of fake resnet8 backprop 1 finished"):
        choose.judge(plan.trials, tmp_path)


def test_other_trials_void_an_earlier_choice(tmp_path: Path) -> None:
    plan = load(tmp_path)
    cells = plan.cells
    for cell in cells:
        finish(cell, tmp_path, 10.0)
    choose.write(choose.judge(plan.trials, tmp_path), tmp_path / "tuned.json")
    assert not load(tmp_path).tuning
    assert load(tmp_path, validation=64).tuning
    assert load(tmp_path, draw=3, training={"lr": [0.1, 0.2, 0.3, 0.4, 0.5]}).tuning
    (tmp_path / "tuned.json").write_text("{")
    assert trials.read(tmp_path / "tuned.json", trials.digest(plan.trials)) is None
