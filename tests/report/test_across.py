"""Many tasks: probability of improvement and performance profiles against the definitions written
out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modulewise.report import across, frame
from modulewise.runs.result import PrimaryMetric

BASE, OTHER = ("fake", "resnet8", ""), ("fake", "resnet20", "")
GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["backprop", "dgl", "greedy"],
    "seeds": 3,
}


def made() -> across.Tasks:
    own = {(BASE, 2): [1.0, 2.0, 3.0], (BASE, 4): [2.0, 4.0, 6.0, 8.0], (OTHER, 2): [5.0, 7.0, 9.0]}
    base = {BASE: [2.0, 3.0, 4.0], OTHER: [6.0, 6.5, 7.0]}
    return across.Tasks(
        {"r": {k: np.array(v) for k, v in own.items()}},
        {k: np.array(v) for k, v in base.items()},
        PrimaryMetric(),
    )


def test_probability_of_improvement_by_hand() -> None:
    (row,) = across.improvement(made()).to_dict("records")
    by_hand = [(3 + 2 + 0.5 + 1 + 0.5) / 9, (2 + 0.5 + 0.5) / 12, (3 + 0.5) / 9]
    assert row["probability"] == pytest.approx(np.mean(by_hand))
    assert row["tasks"] == 3


def test_the_bootstrap_draws_within_cells_and_a_shared_baseline_once() -> None:
    found, rng = made(), np.random.default_rng(5)
    draws = []
    for _ in range(4000):
        base = {k: rng.choice(v, len(v)) for k, v in found.base.items()}
        values = []
        for (place, _), errors in found.own["r"].items():
            mine = rng.choice(errors, len(errors))
            values.append(np.mean([(a < b) + (a == b) / 2 for a in mine for b in base[place]]))
        draws.append(np.mean(values))
    (row,) = across.improvement(found).to_dict("records")
    assert [row["low"], row["high"]] == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.03)


def test_profile_by_hand() -> None:
    at = np.array([0.1, 1.0, 4.0])
    shares, low, high = across.profile(made(), "r", [(BASE, 2), (BASE, 4), (OTHER, 2)], at)
    assert shares == pytest.approx([0, np.mean([3 / 3, 1 / 4, 1 / 3]), 1])
    assert (low <= shares).all() and (shares <= high).all()
    assert (low[0], high[0], low[2], high[2]) == (0, 0, 1, 1)
    assert 0 < low[1] < high[1] < 1


def test_too_few_tasks_say_why(site: Any, sketched: None) -> None:
    s = site({"sweep": "x", "grids": [GRID | {"modules": [2, 4, 8]}]})
    s.fill("backprop", 1, [10.0, 11.0, 12.0])
    for k in (2, 4):
        s.fill("dgl", k, [11.0, 12.0, 13.0])
    s.fill("dgl", 8, [11.0, 12.0])
    words = s.words()
    assert (
        "Probability of improvement and performance profiles are not shown: this needs 3 tasks"
        in words
    )
    assert "3 finished seeds; no recipe has more than 2" in words
    assert not list((s.root / "out/figures").glob("performance*"))


def test_enough_tasks_are_shown(site: Any, sketched: None) -> None:
    s = site({"sweep": "x", "grids": [GRID | {"modules": [2, 4, 8]}]})
    s.fill("backprop", 1, [10.0, 11.0, 12.0])
    for k in (2, 4, 8):
        s.fill("dgl", k, [9.0, 9.1, 9.2])
    s.fill("greedy", 2, [19.0, 19.1, 19.2])
    words = s.words()
    assert (
        "Recipe K Tasks P(lower test error than Backprop) [95 %] "
        "Horizon Helpers’ parameters Helpers’ FLOPs "
        "DGL & co_1 2 – 8 3 1.00 [1.00, 1.00] 1 10 – 70 25.0 % – 70.0 %"
    ) in words
    assert "Performance profiles over 3 tasks" in words
    assert (s.root / "out/figures/performance-profiles_all.svg").exists()
    (row,) = s.table("across").to_dict("records")
    assert (row["recipe"], row["tasks"]) == ("dgl", 3)
    assert (row["modules_min"], row["modules_max"], row["horizon_min"], row["horizon_max"]) == (
        2,
        8,
        1,
        1,
    )
    assert (row["helper_parameters_min"], row["helper_parameters_max"]) == (10, 70)
    assert (row["helper_flops_share_min"], row["helper_flops_share_max"]) == (0.25, 0.7)
    f = frame.read(s.plan, s.runs)
    fig = across.performance_profiles(across.tasks(f, PrimaryMetric()), f, ["dgl", "greedy"])
    assert fig
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["DGL & co_1"]


def test_what_stands_beside_a_recipe_is_of_its_tasks_alone(site: Any) -> None:
    """K = 8 has too few seeds to be a task; one network's helpers are not mixed with another's."""
    s = site(
        {
            "sweep": "x",
            "grids": [GRID | {"networks": ["resnet8", "resnet20"], "modules": [2, 4, 8]}],
        }
    )
    for cell in s.cells:
        if cell.recipe == "backprop" or (
            cell.recipe == "dgl" and (cell.modules < 8 or cell.seed == 0)
        ):
            small = cell.network == "resnet8"
            s.run(cell, 9.0, helper_parameters=(10 if small else 1000) * (cell.modules - 1))
    assert "DGL & co_1 2 – 4 4 0.50 [0.50, 0.50] 1 10 – 3 k 25.0 % – 50.0 % " in s.words()


def test_other_settings_are_other_tasks(site: Any) -> None:
    grids = [GRID | {"modules": [2], "training": {"epochs": n}} for n in (3, 4, 5)]
    s = site({"sweep": "x", "grids": grids})
    for n in (3, 4, 5):
        for seed in range(3):
            s.run(s.cell("dgl", 2, seed, epochs=n), 9.0)
            if n > 3:
                s.run(s.cell("backprop", 1, seed, epochs=n), 10.0)
    found = across.tasks(frame.read(s.plan, s.runs), PrimaryMetric())
    assert [place[2] for place, _ in found.own["dgl"]] == ["epochs=4", "epochs=5"]
