"""Recipes against each other: paired t-tests of scipy, Holm's procedure written step by step, and
what the order of recipes must not change."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from modulewise import detection
from modulewise.report import matrix, pairs, seeds
from modulewise.report.frame import read
from modulewise.runs.result import PrimaryMetric

GRID = {"datasets": ["fake"], "networks": ["resnet8"], "modules": [2, 4], "seeds": 4}
BASE = np.array([10.0, 10.4, 9.7, 10.2])
REACHED = {
    "dgl": BASE + np.array([3.0, 3.1, 2.9, 3.05]),
    "greedy": BASE + np.array([0.5, -0.4, 0.2, 0.1]),
    "large": BASE + np.array([6.2, 6.0, 6.1, 5.8]),
}


def of(values: np.ndarray, **changes: Any) -> pairs.Cells:
    """Cells a, b, ... with these values, seeds x cells."""
    width = values.shape[1]
    plain: dict[str, Any] = {
        "keys": [(chr(97 + n), 2) for n in range(width)],
        "values": values,
        "budgets": [frozenset({(64.0, 3.0)})] * width,
        "failed": [0] * width,
        "planned": [len(values)] * width,
    }
    return pairs.Cells(**plain | changes)


def rejected(p: list[float], level: float) -> list[bool]:
    """Holm's procedure as he describes it: the smallest p-value against level / m, and so on until
    one is not below."""
    out, left = [False] * len(p), len(p)
    for place in np.argsort(p):
        if p[place] >= level / left:
            break
        out[place], left = True, left - 1
    return out


@pytest.mark.parametrize("draw", range(5))
def test_against_scipy(draw: int) -> None:
    rng = np.random.default_rng(draw)
    values = rng.normal(0, 0.3, (6, 5)) + np.array([0, 0.1, 1.0, 2.0, 2.1])
    values[rng.integers(6), 0] = np.nan
    two = list(combinations(range(5), 2))
    found = pairs.compare(of(values), two, PrimaryMetric())
    known = [values[~np.isnan(values[:, [a, b]]).any(axis=1)][:, [a, b]] for a, b in two]
    tests = [stats.ttest_rel(*both.T) for both in known]
    assert list(found["n"]) == [len(both) for both in known]
    assert list(found["p"]) == pytest.approx([t.pvalue for t in tests], rel=1e-9)
    ends = [t.confidence_interval(0.95) for t in tests]
    assert list(found["low"]) == pytest.approx([end.low for end in ends])
    assert list(found["high"]) == pytest.approx([end.high for end in ends])
    differ = rejected([t.pvalue for t in tests], 0.05)
    assert any(differ) and not all(differ)
    words = {True: "worse", False: "better"}
    assert list(found["found"]) == [
        words[t.statistic > 0] if it else pairs.OPEN for t, it in zip(tests, differ, strict=True)
    ]
    turned = pairs.compare(of(values), two, PrimaryMetric(direction="higher"))
    assert list(turned["found"]) == [
        {"worse": "better", "better": "worse"}.get(w, w) for w in found["found"]
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"failed": [0, 1]}, "1 of 4 runs diverged or ran out of memory"),
        (
            {"budgets": [frozenset({(64.0, 3.0)}), frozenset({(64.0, 9.0)})]},
            "3 epochs, the other 9 epochs",
        ),
        (
            {"budgets": [frozenset({(64.0, 3.0)}), frozenset({(128.0, 3.0)})]},
            "batch size 64, the other batch size 128",
        ),
        ({"budgets": [frozenset({(64.0, 3.0)}), frozenset()]}, "no run is done"),
    ],
)
def test_what_is_not_tested(changes: dict[str, Any], said: str) -> None:
    values = np.array([[1.0, 2.0], [1.1, 2.3], [1.2, 2.1], [1.0, 2.2]])
    (row,) = pairs.compare(of(values, **changes), [(0, 1)], PrimaryMetric()).to_dict("records")
    assert (row["found"], row["reason"]) == ("", said)
    assert np.isnan([row["p"], row["p_adjusted"]]).all()


def test_few_seeds_and_ties_are_no_test() -> None:
    few = np.array([[1.0, 2.0, 1.0], [1.1, 2.3, 1.1], [np.nan, 2.2, 1.3]])
    found = pairs.compare(of(few), [(0, 1), (0, 2), (1, 2)], PrimaryMetric())
    assert list(found["reason"]) == ["2 seeds in common; a test needs 3", pairs.EQUAL, ""]
    noisy = np.array([[0.1, 0.1 + 0.2], [0.2, 0.2 + 0.2], [0.7, 0.7 + 0.2]])
    (row,) = pairs.compare(of(noisy), [(0, 1)], PrimaryMetric()).to_dict("records")
    assert 0 < row["std"] < 1e-12
    assert (row["reason"], row["found"]) == (pairs.TIED, "")
    assert np.isnan(row["low"])


def test_the_order_of_recipes_changes_only_signs(site: Any) -> None:
    found = []
    for order in permutations(REACHED):
        s = site({"sweep": "order", "grids": [GRID | {"recipes": list(order)}]})
        if not s.runs.exists():
            for recipe, values in REACHED.items():
                s.fill(recipe, 2, list(values))
        rows = matrix.compare(read(s.plan, s.runs), "fake", "resnet8").to_dict("records")
        found.append(
            {
                tuple(sorted((row["recipe"], row["other"]))): (
                    round(abs(row["mean"]), 9),
                    f"{row['p_adjusted']:.9f}",
                    {"better": row["recipe"], "worse": row["other"]}.get(row["found"], ""),
                )
                for row in rows
            }
        )
    assert [it[2] for it in found[0].values()].count("greedy") == 1
    assert all(it == found[0] for it in found[1:])


def test_the_page_and_its_file(site: Any) -> None:
    s = site()
    for recipe, shift in (("backprop", 9.0), ("dgl", 3.0), ("greedy", 0.0)):
        noise = [0.1, 0.0, 0.05, -0.1] if shift else [0.0] * 4
        s.fill(recipe, 1 if recipe == "backprop" else 2, list(BASE + shift + noise))
    words = s.words()
    test = stats.ttest_1samp(np.array([0.1, 0.0, 0.05, -0.1]) + 3, 0)
    end = test.confidence_interval(0.95)
    assert "Recipes against each other K = 2: of 1 pair, 1 differs." in words
    assert f"DGL & co_1 +3.01 [+{end.low:.2f}, +{end.high:.2f}] *" in words
    assert f"Greedy −3.01 [−{end.high:.2f}, −{end.low:.2f}] *" in words
    (row,) = s.table("matrix_fake_resnet8").to_dict("records")
    assert (row["recipe"], row["other"], row["modules"]) == ("dgl", "greedy", 2)
    assert row["p"] == pytest.approx(test.pvalue)


def test_a_page_shows_no_more_than_it_can(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not shown is in the file, and is counted."""
    s = site({"sweep": "wide", "grids": [GRID | {"recipes": list(REACHED)}]})
    for k in (2, 4):
        for recipe, values in REACHED.items():
            s.fill(recipe, k, list(values))
    monkeypatch.setattr(matrix, "MOST", 4)
    words = s.words()
    assert "K = 2: of 3 pairs, " in words
    assert "K = 4: of" not in words
    assert "1 matrix is in the CSV alone" in words
    assert set(s.table("matrix_fake_resnet8")["modules"]) == {2, 4}
    monkeypatch.setattr(matrix, "WIDEST", 2)
    assert "2 matrices are in the CSV alone" in s.words()


@pytest.mark.parametrize(("n", "effect", "sides"), [(5, 1.5, 2), (10, 0.8, 2), (8, 1.0, 1)])
def test_power_by_drawing(n: int, effect: float, sides: int) -> None:
    draws = np.random.default_rng(n).normal(effect, 1, (20_000, n))
    way = "two-sided" if sides == 2 else "greater"
    found = (stats.ttest_1samp(draws, 0, axis=1, alternative=way).pvalue < 0.01).mean()
    assert float(detection.power(effect, n, 0.01, sides)) == pytest.approx(found, abs=0.015)


def test_needed_seeds_are_the_least_with_that_power() -> None:
    for effect, level in ((1.0, 0.05), (2.0, 0.01), (0.6, 0.05)):
        n = seeds.needed(effect, level)
        assert n
        assert detection.power(effect, n, level) >= 0.8 > detection.power(effect, n - 1, level)
    assert seeds.needed(0.0, 0.05) is None
    assert seeds.needed(0.1, 0.05) is None
    assert seeds.needed(1.0, 0.05, above=20) == 21
    assert seeds.needed(50.0, 0.05) == 3


@pytest.mark.parametrize("level", [0.05, 0.0125, 0.001])
def test_a_larger_effect_needs_no_more_seeds(level: float) -> None:
    """Far from its centre SciPy gives no number for the noncentral t-distribution."""
    needed = [seeds.needed(effect, level) for effect in np.linspace(0.7, 40, 200)]
    assert all(n for n in needed)
    assert needed == sorted(needed, reverse=True)  # type: ignore[type-var]
    assert needed[-1] == 3
    for n in range(2, 31):
        assert detection.power(detection.detectable(n, level), n, level) == pytest.approx(0.8)
