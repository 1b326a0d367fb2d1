"""The planned analysis: contrasts over seeds against scipy, what is not decided, and a plan that is
changed."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from scipy import stats

from modulewise.config.analysis import Analysis
from modulewise.config.plan import make_plan
from modulewise.errors import parse
from modulewise.report import brief, frame
from modulewise.report.contrasts import judge
from modulewise.report.contrasts_section import history

TERMS = [{"recipe": "dgl", "modules": 4}, {"recipe": "backprop"}]
SLOPE = {"name": "slope", "hypothesis": "h", "slope": {"recipe": "dgl"}}
WORSE = {"name": "worse", "hypothesis": "h", "difference": TERMS}
SAME = {"name": "same", "hypothesis": "h", "equivalence": TERMS, "margin": 1.0}
PLAN = {"n": 4, "primary": [SLOPE, WORSE], "secondary": [SAME]}
BASE = [10.0, 10.3, 9.8, 10.1]


@pytest.fixture
def planned(site: Any) -> Any:
    """A site whose sweep has an analysis, of K = 2, 4, 8."""

    def make(**changes: Any) -> Any:
        s = site().other(modules=[2, 4, 8])
        analysis = parse(Analysis, PLAN | changes, "analysis")
        sweep = s.sweep.model_copy(update={"analysis": analysis})
        return dataclasses.replace(s, plan=make_plan(sweep, s.catalog))

    return make


def judged(s: Any) -> dict[str, dict[str, Any]]:
    rows = judge(s.plan, frame.read(s.plan, s.runs), s.sweep.analysis)
    return {row["contrast"]: row for row in rows.to_dict("records")}


def test_against_scipy(planned: Any) -> None:
    """A slope is that of each seed's line over log2 K; tests are one-sample t-tests."""
    s = planned()
    rng = np.random.default_rng(1)
    errors = {k: (11 + 0.7 * x + rng.normal(0, 0.2, 4)) for x, k in enumerate((2, 4, 8), 1)}
    s.fill("backprop", 1, BASE)
    for k, values in errors.items():
        s.fill("dgl", k, list(values))
    found = judged(s)
    slopes = [stats.linregress([1, 2, 3], [errors[k][i] for k in errors]).slope for i in range(4)]
    gaps = errors[4] - np.array(BASE)
    p = []
    for name, values in (("slope", slopes), ("worse", gaps)):
        row, test = found[name], stats.ttest_1samp(values, 0)
        assert row["mean"] == pytest.approx(np.mean(values))
        low, high = test.confidence_interval(0.95)
        assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
        assert row["p"] == pytest.approx(test.pvalue, rel=1e-9)
        assert (row["n"], row["found"]) == (4, "above")
        p.append(row["p"])
    assert found["slope"]["p_adjusted"] == pytest.approx(max(2 * min(p), found["slope"]["p"]))
    sides = [
        stats.ttest_1samp(gaps, -1, alternative="greater"),
        stats.ttest_1samp(gaps, 1, alternative="less"),
    ]
    same = found["same"]
    assert same["p"] == pytest.approx(max(side.pvalue for side in sides), rel=1e-9)
    low, high = stats.ttest_1samp(gaps, 0).confidence_interval(0.90)
    assert (same["low"], same["high"]) == (pytest.approx(low), pytest.approx(high))
    assert same["found"] == "not shown"


def test_a_small_difference_lies_within_its_margin(planned: Any) -> None:
    s = planned()
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 4, [b + g for b, g in zip(BASE, [0.1, -0.1, 0.05, 0.0], strict=True)])
    found = judged(s)
    assert found["same"]["found"] == "within"
    assert found["worse"]["found"] == "not shown"
    assert (found["slope"]["n"], found["slope"]["found"]) == (0, "")


def test_nothing_is_decided_before_all_seeds_are_there(planned: Any) -> None:
    s = planned()
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 4, [20.0, 20.1, 20.2])
    worse = judged(s)["worse"]
    assert worse["n"] == 3
    assert worse["mean"] == pytest.approx(np.mean([10.0, 9.8, 10.4]))
    assert (worse["found"], worse["reason"]) == ("", "3 of 4 planned seeds are complete")
    assert "worse: nothing is decided, 3 of 4 planned seeds are complete." in s.words()


def test_seeds_that_tie_but_for_rounding_decide_nothing(planned: Any) -> None:
    s = planned()
    s.fill("backprop", 1, [0.1, 0.2, 0.3, 0.7])
    s.fill("dgl", 4, [0.1 + 0.2, 0.2 + 0.2, 0.3 + 0.2, 0.7 + 0.2])
    assert judged(s)["worse"]["std"] == 0 and math.isnan(judged(s)["worse"]["low"])
    assert judged(s)["worse"]["reason"] == "all seeds tie: no interval can be given"


def test_contrasts_without_a_result_count_in_the_correction(planned: Any) -> None:
    """One contrast of a family of two: its p-value is doubled though the other has none."""
    s = planned()
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 4, [10.9, 11.4, 10.6, 11.2])
    worse = judged(s)["worse"]
    assert worse["p_adjusted"] == pytest.approx(2 * worse["p"])


def test_the_page_says_it(planned: Any) -> None:
    s = planned()
    s.fill("backprop", 1, BASE)
    for x, k in enumerate((2, 4, 8)):
        s.fill("dgl", k, [b + 2 * x + 0.1 * (b > 10) for b in BASE])
    words = s.words()
    assert "slope: +2.00 points a doubling of K" not in words  # no spread: the seeds tie
    assert "slope: nothing is decided, all seeds tie" in words
    assert "worse: +2.05 points [+1.96, +2.14], above zero." in words
    assert "same: +2.05 points [+1.98, +2.12], not shown to be within ± 1 points." in words
    assert "plan changed" not in words
    head, *primary, last = brief(s.root / "out")
    assert head == "planned, primary (1 secondary in the page):"
    assert primary[0].startswith("slope: nothing is decided, all seeds tie")
    assert primary[1] == "worse: +2.05 points [+1.96, +2.14], above zero."
    assert last == "not compared: 3 not done", "the answers follow"


def test_a_plan_that_changes_after_a_result_is_shown_as_changed(planned: Any) -> None:
    s = planned()
    s.report()
    s.fill("backprop", 1, BASE)
    assert "plan changed" not in s.words()
    assert "plan changed" not in planned(sd=0.4, sd_source="a guess").words(), "it decides nothing"
    words = planned(alpha=0.1).words()
    assert "plan changed" in words
    assert "when 4 cells were done" in words
    assert len(json.loads((s.root / "out/plan.json").read_text())) == 2


@pytest.mark.parametrize("change", [{"modules": [2, 4, 16]}, {"training": {"epochs": 5}}])
def test_other_cells_are_another_plan(site: Any, change: dict[str, Any]) -> None:
    """A slope is of all K that the grid has, with the grid's settings."""
    words = []
    for changes in ({"modules": [2, 4, 8]}, {"modules": [2, 4, 8]} | change):
        s = site().other(**changes)
        sweep = s.sweep.model_copy(update={"analysis": parse(Analysis, PLAN, "analysis")})
        s = dataclasses.replace(s, plan=make_plan(sweep, s.catalog))
        if not words or "training" in change:  # with other K the end-to-end runs are the same
            s.fill("backprop", 1, BASE)
        words.append(s.words())
    assert "plan changed" not in words[0] and "plan changed" in words[1]


def test_a_plan_file_that_cannot_be_read_counts_as_none(tmp_path: Any) -> None:
    now = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    for content in ("", "{", "[]", '{"plan": 1}', "[1]"):
        (tmp_path / "plan.json").write_text(content)
        (seen,) = history(tmp_path / "plan.json", "a plan", 7, now)
        assert (seen["seen"], seen["done"]) == ("2026-01-02 03:04 UTC", 7)
