"""The decision on local learning: frames whose verdicts are known, the hull against its definition,
and how often the rule errs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from modulewise.plots import Nothing
from modulewise.report import frame
from modulewise.report.decision import (
    BASELINE,
    COSTS,
    FAILED,
    FEW,
    NO_HULL,
    NO_MARGIN,
    RIVALS,
    Loss,
    decide,
    margin_of,
    missing,
)
from modulewise.report.decision_section import sentence
from modulewise.report.drawing import Look
from modulewise.report.hull import Arm, Mark, beaten_by, draw
from modulewise.report.stats import NO_MEMORY, NO_TIME
from modulewise.report.verdicts import LEVEL, holm
from modulewise.runs.result import PrimaryMetric

ROOT = Path(__file__).parents[2]
BASE = [10.0, 10.2, 10.4, 10.6]
SMALL = {"peak_memory_bytes": 500}
"""Less than the baseline's 1000."""


def after(gaps: list[float]) -> list[float]:
    """Errors that differ by so much from the baseline's."""
    return [b + g for b, g in zip(BASE, gaps, strict=False)]


CLOSE = after([0.01, 0.02, -0.02, 0.0])
FAR = after([1.49, 1.51, 1.5, 1.52])
WIDE = after([-0.6, 0.8, 0.5, 0.1])


def decided(s: Any, margin: float | None = 0.5) -> dict[tuple[str, int], dict[str, Any]]:
    rows = decide(frame.read(s.plan, s.runs), "fake", "resnet8", margin)
    return {(r["recipe"], r["modules"]): r for r in rows.to_dict("records")}


def test_every_verdict(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 2, CLOSE, **SMALL)
    s.fill("dgl", 4, FAR, **SMALL)
    s.fill("greedy", 2, WIDE, **SMALL)
    s.fill("greedy", 4, CLOSE, peak_memory_bytes=1001, step_seconds=0.2)
    f = frame.read(s.plan, s.runs)
    rows = decide(f, "fake", "resnet8", 0.5)
    assert list(zip(rows["recipe"], rows["modules"], rows["verdict"], strict=True)) == [
        ("dgl", 2, "worth it"),
        ("dgl", 4, "less accurate"),
        ("greedy", 2, "unknown"),
        ("greedy", 4, "dominated"),
    ]
    assert list(rows["accurate"]) == ["yes", "no", "unknown", ""]
    assert list(rows["beaten_by"]) == ["", "", "", "Backprop"]
    assert list(rows["memory_ratio"]) == [0.5, 0.5, 0.5, 1.001]
    assert list(rows["time_ratio"]) == [1, 1, 1, 2]
    assert list(rows["because"]) == ["", "", FEW, ""]
    assert sentence(rows, f.metric("fake"), 0.5) == (
        "Of 4 local configurations, 1 is worth it: DGL & co_1 (K = 2); 1 is beaten by Backprop in "
        "memory and time; 1 loses more than 0.5 points; 1 cannot be told: too few seeds."
    )


def test_p_values_and_interval_against_scipy(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 2, CLOSE, **SMALL)
    s.fill("greedy", 2, WIDE, **SMALL)
    found = decided(s)
    columns: dict[str, list[float]] = {"p_less": [], "p_more": []}
    for values in (CLOSE, WIDE):
        gaps = np.subtract(values, BASE)
        columns["p_less"].append(stats.ttest_1samp(gaps, 0.5, alternative="less").pvalue)
        columns["p_more"].append(stats.ttest_1samp(gaps, 0.5, alternative="greater").pvalue)
    for name, p in columns.items():
        both = [found["dgl", 2][name], found["greedy", 2][name]]
        assert both == pytest.approx(holm(p))
    gaps = np.subtract(WIDE, BASE)
    ends = stats.t.interval(0.9, 3, gaps.mean(), stats.sem(gaps))
    row = found["greedy", 2]
    assert (row["gap_low"], row["gap_high"]) == pytest.approx(ends)
    assert row["family"] == 2


def test_a_tie_in_both_costs_is_beaten_and_less_of_one_is_outside(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 2, CLOSE)
    s.fill("dgl", 4, CLOSE, peak_memory_bytes=999, step_seconds=9.0)
    s.fill("greedy", 2, CLOSE, peak_memory_bytes=9000, step_seconds=0.099)
    found = decided(s)
    assert found["dgl", 2]["verdict"] == "dominated"
    assert found["dgl", 4]["verdict"] == "worth it"
    assert found["greedy", 2]["verdict"] == "worth it"


def test_arms_whose_horizon_is_all_modules_are_end_to_end(site: Any) -> None:
    """As checkpointed segments are: K = 2, horizon 2."""
    s = site()
    s.fill("backprop", 1, BASE)
    s.fill("greedy", 2, BASE, horizon=2, peak_memory_bytes=400, step_seconds=0.13)
    s.fill("dgl", 2, CLOSE, peak_memory_bytes=400, step_seconds=0.13)
    s.fill("dgl", 4, CLOSE, peak_memory_bytes=400, step_seconds=0.129)
    found = decided(s)
    assert set(found) == {("dgl", 2), ("dgl", 4)}
    assert found["dgl", 2]["beaten_by"] == "Greedy K = 2"
    assert found["dgl", 4]["verdict"] == "worth it"


@pytest.mark.parametrize(
    ("values", "reason", "memory"),
    [
        ({"peak_memory_bytes": None}, NO_MEMORY[0], None),
        ({"step_seconds": None}, NO_TIME[0], 0.5),
        ({"exclusive": False}, NO_TIME[0], 0.5),
        ({"device": "GPU B"}, NO_HULL, None),
        ({"memory_source": "live tensors"}, NO_HULL, None),
    ],
)
def test_costs_that_cannot_be_compared(
    site: Any, values: dict[str, Any], reason: str, memory: float | None
) -> None:
    """Memory can where only time cannot."""
    s = site()
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 2, CLOSE, **SMALL | values)
    s.fill("dgl", 4, FAR, **SMALL | values)
    found = decided(s)
    row = found["dgl", 2]
    assert (row["verdict"], row["because"], row["reason"]) == ("unknown", COSTS, reason)
    assert row["accurate"] == "yes"
    assert math.isnan(row["time_ratio"])
    assert row["memory_ratio"] == memory if memory else math.isnan(row["memory_ratio"])
    assert found["dgl", 4]["verdict"] == "less accurate"


def test_unknown_for_two_reasons_names_both(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 2, WIDE, exclusive=False, **SMALL)
    row = decided(s)["dgl", 2]
    assert (row["verdict"], row["because"]) == ("unknown", f"{FEW}, and {COSTS}")
    assert "end in a verdict with a chance of 80 %" in row["reason"]
    assert row["reason"].endswith(NO_TIME[0]) and row["seeds_needed"] > 4


def test_other_epochs_or_batches_are_not_compared(site: Any) -> None:
    s = site()
    s = s.other(recipes=["backprop", "dgl", "large"])
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 2, CLOSE, planned=6, **SMALL)
    s.fill("large", 2, FAR, **SMALL)
    found = decided(s)
    for row in (found["dgl", 2], found["large", 2]):
        assert (row["verdict"], row["reason"]) == ("unknown", NO_HULL)
        assert row["gap_n"] == 0


def test_other_arms_than_the_baseline_may_share_its_batch_size_alone(site: Any) -> None:
    """Costs have an end-to-end arm to be compared with, the metric has no baseline."""
    s = site().other(recipes=["backprop", "dgl", "large"])
    s.fill("backprop", 1, BASE)
    s.fill("large", 2, FAR, horizon=2)
    s.fill("large", 4, FAR, **SMALL)
    row = decided(s)["large", 4]
    assert (row["verdict"], row["because"]) == ("unknown", BASELINE)


@pytest.mark.parametrize(
    ("values", "because"),
    [(CLOSE[:1], FEW), (CLOSE[:2], FEW), ([b + 0.125 for b in (10.0, 10.25, 10.5)], FEW)],
)
def test_too_few_seeds_or_no_spread(site: Any, values: list[float], because: str) -> None:
    s = site()
    s.fill("backprop", 1, [10.0, 10.25, 10.5])
    s.fill("dgl", 2, values, **SMALL)
    row = decided(s)["dgl", 2]
    assert (row["verdict"], row["because"], row["accurate"]) == ("unknown", because, "unknown")


def test_a_diverged_seed_leaves_the_others_unjudged(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 2, CLOSE[:3], **SMALL)
    s.run(s.cell("dgl", 2, 3), 90.0, status="diverged")
    s.run(s.cell("dgl", 4, 0), None, status="out_of_memory")
    found = decided(s)
    row = found["dgl", 2]
    assert (row["verdict"], row["because"]) == ("unknown", FAILED)
    assert row["reason"] == "1 of 4 runs diverged or ran out of memory"
    row = found["dgl", 4]
    assert (row["verdict"], row["because"]) == ("unknown", FAILED)
    assert row["obstacle"] == "no run is done"


def test_several_settings_share_the_hull_and_not_the_gap(site: Any) -> None:
    """An end-to-end arm of lower precision beats local arms of either; a gap is to the baseline of
    the same settings."""
    grid = {"datasets": ["fake"], "networks": ["resnet8"], "modules": [2], "seeds": 4}
    s = site(
        {
            "sweep": "x",
            "grids": [
                grid | {"recipes": ["backprop", "dgl"]},
                grid | {"recipes": ["backprop", "greedy"], "training": {"precision": "bf16"}},
            ],
        }
    )
    for precision, memory in (("fp32", 1000), ("bf16", 500)):
        for seed, value in enumerate(BASE):
            cell = s.cell("backprop", 1, seed, precision=precision)
            s.run(cell, value + (precision == "bf16"), peak_memory_bytes=memory)
    s.fill("dgl", 2, CLOSE, peak_memory_bytes=600)
    s.fill("greedy", 2, [v + 1 for v in CLOSE], peak_memory_bytes=400)
    found = decided(s)
    assert missing(frame.read(s.plan, s.runs), "fake", "resnet8", RIVALS) is None
    assert found["dgl", 2]["verdict"] == "dominated"
    assert found["dgl", 2]["beaten_by"] == "Backprop (precision=bf16)"
    assert found["dgl", 2]["memory_ratio"] == 0.6
    assert found["greedy", 2]["verdict"] == "worth it"
    assert found["greedy", 2]["memory_ratio"] == 0.8
    assert found["greedy", 2]["gap_mean"] == pytest.approx(np.subtract(CLOSE, BASE).mean())
    words = s.words()
    assert "1 is worth it: Greedy (K = 2; precision=bf16); 1 is beaten by Backprop (prec" in words


def test_metrics_of_other_units_and_directions(site: Any) -> None:
    s = site()
    s.metrics["fake"] = PrimaryMetric(name="bits", label="bits", unit="", direction="higher")
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 2, CLOSE, **SMALL)
    s.fill("dgl", 4, after([-1.5, -1.4, -1.6, -1.5]), **SMALL)
    s.fill("greedy", 2, FAR, **SMALL)
    metric = frame.read(s.plan, s.runs).metric("fake")
    assert margin_of(metric, None) is None
    assert margin_of(PrimaryMetric(), None) == 0.5
    assert {r["because"] for r in decided(s, None).values()} == {NO_MARGIN}
    found = {k: r["verdict"] for k, r in decided(s, margin_of(metric, 0.5)).items()}
    assert found == {
        ("dgl", 2): "worth it",
        ("dgl", 4): "less accurate",
        ("greedy", 2): "worth it",
    }


def test_missing_end_to_end_arms_are_named(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 2, CLOSE, **SMALL)
    known = ["backprop", "dgl", "checkpoint-blocks"]
    f = frame.read(s.plan, s.runs)
    assert missing(f, "fake", "resnet8", known) == ["checkpoint-blocks"]
    words = s.words()
    assert "Is local learning worth it?" in words
    assert "comparison missing" in words
    assert "Of 1 local configuration, 1 is worth it: DGL & co_1 (K = 2)." in words
    s.fill("greedy", 2, BASE, horizon=2)
    assert missing(frame.read(s.plan, s.runs), "fake", "resnet8", known) is None
    assert "comparison missing" not in s.words()


def test_the_repositorys_catalog_has_the_recipes_to_add() -> None:
    known = yaml.safe_load((ROOT / "config/recipes.yaml").read_text())["recipes"]
    assert set(RIVALS) <= set(known)


def test_the_page_has_the_sweeps_margin_and_the_tables_files(site: Any, sketched: None) -> None:
    grid = {"datasets": ["fake"], "networks": ["resnet8"], "modules": [2], "seeds": 4}
    grid["recipes"] = ["backprop", "dgl"]
    s = site({"sweep": "x", "margin": 2, "grids": [grid]})
    s.fill("backprop", 1, BASE)
    s.fill("dgl", 2, FAR, **SMALL)
    words = s.words().replace("\u00a0", " ")
    assert "Loses less than 2 points" in words
    assert "0.50× 1.00× none is as small and as fast +1.5" in words
    row = s.table("decision_fake_resnet8").iloc[0]
    assert (row["recipe"], row["verdict"]) == ("dgl", "worth it")
    assert (s.root / "out/tables/decision_fake_resnet8.tex").exists()
    assert (s.root / "out/figures/decision_fake_resnet8.svg").exists()
    assert words.count("Beside a mark: K and the mean test error") == 1


def test_no_section_without_local_runs(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, BASE)
    assert "Is local learning worth it?" not in s.words()


COST = st.integers(1, 4)
ARMS = st.lists(st.tuples(COST, COST), min_size=1, max_size=6)


@given(st.tuples(COST, COST), ARMS)
def test_outside_the_hull_is_outside_every_quadrant(
    point: tuple[int, int], others: list[tuple[int, int]]
) -> None:
    """The union of the quadrants above and right of the arms, cell by cell of a grid."""
    inside = np.zeros((5, 5), bool)
    for memory, seconds in others:
        inside[memory:, seconds:] = True
    arms = [Arm(str(n), *o) for n, o in enumerate(others)]
    found = beaten_by(Arm("mine", *point), arms)
    assert (found is not None) == inside[point]
    if found:
        able = [o for o in others if max(o[0] - point[0], o[1] - point[1]) <= 0]
        assert found.seconds == min(seconds for _, seconds in able)


def test_the_figures_line_is_the_hull() -> None:
    """A point is in the shade exactly where an arm beats it."""
    look = Look("x", "#000000", "o", "-")
    ends = [(700.0, 0.06), (160.0, 0.082), (600.0, 0.09), (370.0, 0.0764)]
    local = (200.0, 0.07)
    marks = [Mark(Arm("e", m * 2**20, s), look, "1", True, True) for m, s in ends]
    with pytest.raises(Nothing, match="no local arm"):
        draw(marks, "GPU")
    fig = draw([*marks, Mark(Arm("l", local[0] * 2**20, local[1]), look, "2", False, False)], "GPU")
    assert fig
    (ax,) = fig.axes
    (line,) = [one for one in ax.lines if one.get_drawstyle() == "steps-post"]
    x, y = (np.asarray(values, float) for values in (line.get_xdata(), line.get_ydata()))
    assert list(x[:-1]) == pytest.approx([160, 160, 370, 700])
    assert list(y[1:]) == pytest.approx([82, 76.4, 60, 60])
    assert (x[-1], y[0]) == pytest.approx((ax.get_xlim()[1], ax.get_ylim()[1]))
    (shade,) = [c for c in ax.collections if c.get_paths()]
    path = shade.get_paths()[0]
    for memory, seconds in [*((m + 5, 1000 * s + 0.5) for m, s in ends), local]:
        assert path.contains_point((memory, seconds)) == (memory != local[0])


@pytest.mark.parametrize(("n", "family"), [(3, 1), (5, 1), (5, 4)])
def test_how_often_an_arm_that_loses_the_margin_is_worth_it(n: int, family: int) -> None:
    """No more often than the level, within what 4,000 draws allow (99.9 %)."""
    draws, rng = 4000, np.random.default_rng(n + family)
    gaps = rng.normal(0.5, 0.25, size=(draws, family, n))
    wrong = 0
    for sweep in gaps:
        losses = [Loss(n, g.mean(), g.std(ddof=1)) for g in sweep]
        wrong += min(holm([x.p(0.5, more=False) for x in losses])) < LEVEL
    assert stats.binom.ppf(0.0005, draws, 0.02) < wrong < stats.binom.ppf(0.9995, draws, LEVEL)


@pytest.mark.parametrize("loss", [Loss(3, 0.2, 0.3), Loss(3, 0.75, 0.4)])
def test_seeds_needed_find_a_verdict_four_times_of_five(loss: Loss) -> None:
    """By drawing seeds from the mean and spread that were found: fewer find it less often."""
    needed, rng = loss.seeds_needed(0.5, 2), np.random.default_rng(2)
    assert needed
    chances = []
    for n in (needed - 1, needed):
        draws = rng.normal(loss.mean, loss.std, (40_000, n))
        sides = [
            stats.ttest_1samp(draws, 0.5, axis=1, alternative=way).pvalue
            for way in ("less", "greater")
        ]
        chances.append(float(np.mean(np.minimum(*sides) < LEVEL / 2)))
    assert chances[0] < 0.8 + 0.006
    assert chances[1] > 0.8 - 0.006
    assert Loss(3, 0.5, 0.3).seeds_needed(0.5, 1) is None
