"""Which rows are marked: against p-values and simulations that are made here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats as reference

from modulewise.report import best
from modulewise.runs.result import PrimaryMetric

ERROR = PrimaryMetric()
MIOU = PrimaryMetric(name="mIoU", label="mIoU", unit="%", direction="higher")


def runs(values: Any, first: int = 0) -> dict[str, np.ndarray]:
    made = np.array(values, float)
    return {"seed": np.arange(first, first + len(made)), "value": made}


def test_a_row_is_told_apart_by_the_corrected_paired_test() -> None:
    """p-values are those of scipy's paired test, times the number of other rows."""
    base = np.array([10.0, 11.0, 12.0, 13.0])
    others = {
        "near": base + np.array([0.1, 0.2, -0.1, 0.2]),
        "between": base + np.array([1.0, 0.2, 0.9, 0.3]),
        "far": base + np.array([2.0, 2.2, 2.1, 1.8]),
    }
    alone = {
        k: reference.ttest_rel(v, base, alternative="greater").pvalue for k, v in others.items()
    }
    found = best.metric({"top": runs(base)} | {k: runs(v) for k, v in others.items()}, ERROR)
    for k, p in alone.items():
        assert found[k].p == pytest.approx(min(1.0, 3 * p))
    assert alone["between"] < 0.05 < 3 * alone["between"], "only the correction decides"
    standings = {k: it.standing for k, it in found.items()}
    assert standings == {"top": "best", "near": "level", "between": "level", "far": "behind"}
    turned = best.metric({k: runs(-v) for k, v in (others | {"top": base}).items()}, MIOU)
    assert {k: it.standing for k, it in turned.items()} == standings


def test_pairs_are_made_by_seed() -> None:
    """The same four values in other seeds: paired they differ by one in all, else by chance."""
    base = runs([10.0, 20.0, 30.0, 40.0])
    paired = runs([11.0, 21.1, 31.0, 41.1])
    mixed = paired | {"seed": np.array([3, 2, 1, 0])}
    assert best.metric({"a": base, "b": paired}, ERROR)["b"].standing == "behind"
    assert best.metric({"a": base, "b": mixed}, ERROR)["b"].standing == "level"


def test_without_common_seeds_nothing_is_told_apart() -> None:
    found = best.metric({"a": runs([1.0, 1.1, 1.2]), "b": runs([9.0, 9.1, 9.2], first=7)}, ERROR)
    assert found["b"].standing == "level"


def test_seeds_that_tie_but_for_rounding_are_no_certainty() -> None:
    base = np.array([0.1, 0.2, 0.3, 0.7])
    found = best.metric({"a": runs(base), "b": runs(base + 0.2)}, ERROR)
    assert 0 < (base + 0.2 - base).std() < 1e-15
    assert (found["b"].standing, found["b"].p) == ("level", 1.0)
    same = best.metric({"a": runs(base + 0.2 - 0.2), "b": runs(base)}, ERROR)
    assert {it.standing for it in same.values()} == {"best"}


def test_few_seeds_have_a_best_mean_and_no_more() -> None:
    few = {"a": runs([3.0, 4.0]), "b": runs([1.0, 2.0]), "c": runs([9.0])}
    assert {k: it.standing for k, it in best.metric(few, ERROR).items()} == {"b": "best"}
    enough = few | {"d": runs([5.0, 5.0, 5.1])}
    assert {k: it.standing for k, it in best.metric(enough, ERROR).items()} == {"d": "best"}


def test_the_truly_best_row_is_marked_in_19_tables_of_20() -> None:
    """Simulated: ten rows, five seeds, one row better by a little, and all equal."""
    random, tables = np.random.default_rng(0), 1500
    for lead in (0.0, 0.1):
        missed = 0
        for _ in range(tables):
            values = random.normal(size=(10, 5)) - lead * (np.arange(10) == 4)[:, None]
            found = best.metric({k: runs(v) for k, v in enumerate(values)}, ERROR)
            missed += found[4].standing == "behind"
        assert missed / tables < 0.05 + 2 * (0.05 * 0.95 / tables) ** 0.5


def costs(values: list[float], **other: Any) -> dict[str, np.ndarray]:
    facts = {"device": "A", "batch_size": 64, "devices": 1, "exclusive": True}
    facts |= {"memory_source": "live tensors"}
    return {"step_seconds": np.array(values, float), "memory": np.array(values, float)} | {
        name: np.array([value] * len(values)) for name, value in (facts | other).items()
    }


def test_costs_are_told_apart_by_their_ranges() -> None:
    rows = {"a": costs([1.0, 1.1, 1.3]), "b": costs([1.2, 1.4, 1.5]), "c": costs([1.4, 1.5, 9.0])}
    rows |= {"twin": costs([1.1, 1.1, 1.1])}
    expected = {"a": "best", "b": "level", "c": "behind", "twin": "best"}
    assert best.least(rows, "step_seconds") == best.least(rows, "memory") == expected


def test_costs_that_are_not_measured_alike_are_not_judged() -> None:
    rows = {"a": costs([2.0]), "b": costs([3.0]), "other": costs([1.0], device="B")}
    rows |= {"shared": costs([1.0], exclusive=False), "none": costs([float("nan")])}
    assert best.least(rows, "step_seconds") == {"a": "best", "b": "behind"}
    assert best.least(rows, "memory") == {"shared": "best", "a": "behind", "b": "behind"}
    assert best.least({"none": costs([float("nan")])}, "memory") == {}


def test_the_page_marks_and_says_by_which_rule(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, [10.0, 11.0, 12.0, 13.0], peak_memory_bytes=2000)
    s.fill("dgl", 2, [10.1, 11.2, 11.9, 13.2], step_seconds=0.3)
    s.fill("dgl", 4, [14.0, 15.2, 16.1, 17.0], step_seconds=0.3)
    s.fill("greedy", 2, [1.0, 1.0], step_seconds=0.3)
    s.run(s.cell("greedy", 2, 2), 1.0, status="diverged")
    page, words = s.report(), s.words()
    assert "★ 11.50 ± 1.29" in words and "☆ 11.60" in words and "☆ 15.57" not in words
    assert "★ 1.00" not in words, "the seeds that did not diverge flatter"
    assert "★ 100 ms" in words and words.count("★ 0.50×") == 3
    assert page.count('class="r best"') == 1 + 1 + 3
    assert "corrected for the number of rows" in words
    assert list(s.table()["error_standing"].fillna("")) == ["best", "level", "behind", "", ""]
    latex = (s.root / "out/tables/headline_fake_resnet8.tex").read_text()
    assert r"\textbf{11.50 $\pm$ 1.29}$^{\star}$" in latex and r"$^{\circ}$" in latex


def test_rows_of_other_settings_are_not_compared(site: Any) -> None:
    grid = {"datasets": ["fake"], "networks": ["resnet8"], "modules": [2], "seeds": 3}
    grid |= {"recipes": ["backprop", "dgl"]}
    s = site({"sweep": "two", "grids": [grid, grid | {"training": {"epochs": 9}}]})
    for cell in s.cells:
        worse = 5.0 * (cell.recipe == "dgl") - (cell.training.epochs == 9)
        s.run(cell, 10.0 + worse + 0.1 * cell.seed * (1 + (cell.recipe == "dgl")))
    s.report()
    assert list(s.table()["error_standing"]) == ["best", "behind"] * 2
