"""The sentences at the top of the report: known ones of runs written by hand, what scipy finds, and
what must hold whatever the runs are."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from modulewise.cli.app import app
from modulewise.report import best, pairs
from modulewise.report.answer import Question, sentences
from modulewise.report.answer_section import section, terminal
from modulewise.report.frame import read
from modulewise.report.stats import headline
from modulewise.runs.result import PrimaryMetric

GRID = {"datasets": ["fake"], "networks": ["resnet8"], "seeds": 6}
RECIPES = ["backprop", "dgl", "greedy"]
BASE = np.array([10.0, 10.4, 9.7, 10.2, 10.1, 9.9])
NOISE = 0.1 * np.array([1.0, -1.0, 0.5, -0.5, 0.8, -0.8])


@pytest.fixture
def filled(site: Any) -> Any:
    """Six seeds: DGL loses 3 points at K = 2 and half the memory, wins 2 at K = 4; Greedy does as
    well as backprop, in less time."""

    def make(**changes: Any) -> Any:
        s = site({"sweep": "a", "grids": [GRID | {"recipes": RECIPES, "modules": [2, 4]}]})
        s.fill("backprop", 1, list(BASE))
        small, fast = {"peak_memory_bytes": 500}, {"step_seconds": 0.08}
        s.fill("dgl", 2, list(BASE + 3 + NOISE), **small | changes)
        s.fill("dgl", 4, list(BASE - 2 + NOISE[::-1]), **changes)
        s.fill("greedy", 2, list(BASE + 0.01 + 2 * NOISE), **fast | changes)
        return s

    return make


def told(s: Any) -> list[dict[str, Any]]:
    """The sentences of the one place of a report."""
    s.report()
    (answer,) = json.loads((s.root / "out/answer.json").read_text())
    return list(answer["sentences"])


def texts(s: Any) -> dict[str, str]:
    return {sentence["about"]: sentence["text"] for sentence in told(s)}


def test_known_sentences(filled: Any) -> None:
    s = filled()
    gap = stats.ttest_1samp(3 + NOISE, 0).confidence_interval(0.95)
    last = stats.ttest_1samp(0.01 + 2 * NOISE, 0).confidence_interval(0.95)
    std = np.std(BASE - 2 + NOISE[::-1], ddof=1)
    assert texts(s) == {
        "baseline": "Of 3 configurations (recipe and K), 1 has a lower test error than Backprop "
        "(DGL & co_1 at K = 4), 1 has a higher one (DGL & co_1 at K = 2) and 1 cannot be told "
        "apart from it (Greedy at K = 2).",
        "best": f"DGL & co_1 at K = 4 has the lowest test error, 8.05 ± {std:.2f} %; each of 3 "
        "others can be told apart from it.",
        "memory": "DGL & co_1 at K = 2 needs the least memory, 0.50× that of Backprop; its test "
        f"error is 3.00 points higher than that of Backprop [+{gap.low:.2f}, +{gap.high:.2f}].",
        "time": "Greedy at K = 2 needs the least time a step, 0.80× that of Backprop; its test "
        f"error is 0.01 points higher than that of Backprop [−{-last.low:.2f}, +{last.high:.2f}], "
        "which cannot be told apart from none.",
        "left out": "Not compared: 1 configuration (recipe and K) without a run that is done.",
    }


def test_a_metric_whose_higher_values_are_better(site: Any) -> None:
    s = site({"sweep": "a", "grids": [GRID | {"recipes": RECIPES, "modules": [2]}]})
    s.metrics["fake"] = PrimaryMetric(name="mIoU", label="mIoU", unit="", direction="higher")
    s.fill("backprop", 1, list(BASE))
    s.fill("dgl", 2, list(BASE + 3 + NOISE))
    s.fill("greedy", 2, list(BASE - 2 + NOISE[::-1]))
    said = texts(s)
    assert "1 has a higher mIoU than Backprop (DGL & co_1 at K = 2)" in said["baseline"]
    assert "1 has a lower one (Greedy at K = 2)" in said["baseline"]
    assert said["best"].startswith("DGL & co_1 at K = 2 has the highest mIoU, 13.0500 ± ")


def test_shared_devices_and_other_budgets_are_said(filled: Any) -> None:
    said = texts(filled(exclusive=False, planned=9))
    assert "in time, 3 of 4 (no run had its device to itself)" in said["left out"]
    assert (
        "in test error, DGL & co_1 at K = 2, 4; Greedy at K = 2 (9 epochs, the other 3 epochs)"
        in said["left out"]
    )
    assert (
        said["baseline"] == "Against Backprop, none of 3 configurations (recipe and K) is tested."
    )
    assert said["time"] == "Backprop itself needs the least time a step."


def test_runs_that_diverged_are_not_tested(filled: Any) -> None:
    s = filled()
    s.run(s.cell("greedy", 4, 0), None, status="diverged", reason="NaN")
    for seed in range(1, 6):
        s.run(s.cell("greedy", 4, seed), BASE[seed] - 5 + NOISE[seed])
    said = texts(s)
    assert "Greedy at K = 4 (1 of 6 runs diverged or ran out of memory)" in said["left out"]
    assert said["best"].endswith("1 is not tested, of which Greedy at K = 4 with a lower mean.")


@pytest.mark.parametrize("draw", range(2))
def test_against_scipy(site: Any, draw: int) -> None:
    """Paired tests against the baseline after Holm, counted; against the best, one-sided, after
    Bonferroni."""
    rng = np.random.default_rng(draw)
    ks = [2, 4, 8, 16]
    s = site({"sweep": "a", "grids": [GRID | {"recipes": RECIPES, "modules": ks}]})
    cells = [("backprop", 1)] + [(r, k) for r in RECIPES[1:] for k in ks]
    shifts = [0.0, *rng.choice([0.0, 0.3, 1.0, -0.5], 8)]
    values = {c: BASE + m + rng.normal(0, 0.15, 6) for c, m in zip(cells, shifts, strict=True)}
    for (recipe, k), reached in values.items():
        s.fill(recipe, k, list(reached))
    rows = {(r["recipe"], r["modules"]): r for r in table(s).to_dict("records")}
    base, others = values["backprop", 1], cells[1:]
    p = [stats.ttest_rel(values[c], base).pvalue for c in others]
    assert [rows[c]["gap_p"] for c in others] == pytest.approx(p, rel=1e-9)
    found, going = dict.fromkeys(others, pairs.OPEN), True
    for left, n in zip(range(8, 0, -1), np.argsort(p), strict=True):
        going = going and p[n] < 0.05 / left
        if going:
            mean = np.mean(values[others[n]] - base)
            found[others[n]] = "better" if mean < 0 else "worse"
    assert {c: rows[c]["gap_found"] for c in others} == found
    counts = [list(found.values()).count(w) for w in ("better", "worse", pairs.OPEN)]
    brief = {it["about"]: it["brief"] for it in told(s)}
    assert brief["baseline"] == "against Backprop: {} lower, {} higher, {} not told apart".format(
        *counts
    )
    top = min(values, key=lambda c: values[c].mean())
    level = [
        stats.ttest_rel(values[c], values[top], alternative="greater").pvalue * 8 >= 0.05
        for c in cells
        if c != top
    ]
    assert brief["best"].endswith(f"{sum(level)} of 8 not told apart")


def table(s: Any) -> pd.DataFrame:
    frame = read(s.plan, s.runs)
    return pairs.against_baseline(best.judged(headline(frame), frame), frame)


def test_the_order_of_recipes_changes_nothing(filled: Any) -> None:
    s = filled()
    found = []
    for order in permutations(RECIPES):
        other = s.other(recipes=list(order))
        (answer,) = section(table(other), read(other.plan, other.runs), None)
        found.append([it["brief"] for it in answer["sentences"]])
    assert len(found[0]) == 5
    assert all(it == found[0] for it in found[1:])


def made_up(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Rows as the sentences read them, of any values, with n seeds each."""
    width = int(rng.integers(2, 9))
    std = np.where(n > 1, rng.exponential(1, width) + 1e-3, np.nan)
    rows = pd.DataFrame({"modules": [1, *[2] * (width - 1)], "n": n})
    rows["label"] = [f"r{i}" for i in range(width)]
    rows["is_baseline"] = rows["modules"] == 1
    rows["value_mean"], rows["value_std"] = rng.normal(10, 1, width), std
    rows["gap_n"] = np.where(rows["is_baseline"], 0, n)
    rows["gap_mean"] = np.where(rows["is_baseline"], np.nan, rng.normal(0, 1, width))
    rows["gap_std"], rows["gap_low"], rows["gap_high"] = std, np.nan, np.nan
    open_ = rng.choice([pairs.OPEN, "worse", "better"], width)
    rows["gap_found"] = np.where(rows["is_baseline"] | (n < 3), "", open_)
    rows["gap_untested"] = ""
    rows["value_standing"] = rng.choice(["level", "behind"], width) if n > 2 else ""
    rows.loc[rows["value_mean"].idxmin(), "value_standing"] = "best"
    for cost, column in (("memory", "memory_bytes"), ("time", "step_seconds")):
        rows[f"{cost}_standing"] = rng.choice(["best", "level", "behind"], width)
        rows[f"{cost}_ratio"], rows[f"{cost}_n"], rows[column] = 0.5, n, 1.0
        rows[f"{cost}_reason"] = ""
    return rows


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("baseline", ["Backprop", None])
def test_too_few_seeds_come_first(n: int, baseline: str | None) -> None:
    rng = np.random.default_rng(n)
    for _ in range(40):
        rows = made_up(rng, n)
        rows.loc[rng.random(len(rows)) < 0.3, "n"] = 5
        rows["is_baseline"] &= baseline is not None
        few = rows["gap_n" if baseline else "n"][~rows["is_baseline"]] < 3
        found = sentences(rows, Question(PrimaryMetric(), baseline, 0.5))
        places = [n for n, it in enumerate(found) if it.about == "seeds"]
        assert places == [0] or (places == [] and not few.any())


def test_how_many_seeds_would_do(site: Any) -> None:
    """Two tests at 2.5 %: the least number of which simulated differences of half a point, with the
    spread that was found, are seen four times of five."""
    s = site({"sweep": "a", "grids": [GRID | {"recipes": RECIPES, "modules": [2]}]})
    s.fill("backprop", 1, list(BASE[:2]))
    s.fill("dgl", 2, [10.5, 10.4])
    s.fill("greedy", 2, [10.1, 10.9])
    gaps = np.array([[0.5, 0.0], [0.1, 0.5]])
    spread = np.sqrt(np.mean(np.var(gaps, axis=1, ddof=1)))
    said = texts(s)["seeds"]
    before, _, after = said.partition("for a chance of 80 % a difference of 0.5 points takes ")
    assert before.endswith("nothing is tested; ") and "seeds (fix the number before" in after
    n = int(after.split()[0])
    draws = np.random.default_rng(3).normal(0.5, spread, (20_000, n))
    power = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.025).mean()
    fewer = (stats.ttest_1samp(draws[:, 1:], 0, axis=1).pvalue < 0.025).mean()
    assert fewer < 0.81
    assert power > 0.79


def test_what_the_best_costs_more_is_said(site: Any) -> None:
    s = site({"sweep": "a", "grids": [GRID | {"recipes": RECIPES[:2], "modules": [2]}]})
    s.fill("backprop", 1, list(BASE))
    s.fill("dgl", 2, list(BASE - 1 + NOISE), peak_memory_bytes=1250, inference_macs=835.0)
    best = texts(s)["best"]
    assert ", at 1.25× the memory and 1.67× the inference MACs of the baseline" in best


def test_enough_seeds_say_nothing_of_seeds(filled: Any) -> None:
    assert "seeds" not in texts(filled())


def test_without_a_baseline(site: Any) -> None:
    s = site({"sweep": "a", "grids": [GRID | {"recipes": RECIPES[1:], "modules": [2]}]})
    s.fill("dgl", 2, list(BASE), peak_memory_bytes=500)
    s.fill("greedy", 2, list(BASE + 4 + NOISE))
    said = texts(s)
    assert said["baseline"] == "Nothing of this sweep is a baseline: there are no gaps."
    assert (
        said["memory"] == "DGL & co_1 at K = 2 needs the least memory; its test error is 10.05 %."
    )


def test_the_page_and_the_terminal(filled: Any) -> None:
    s = filled()
    words = s.words()
    assert words.index("In short") < words.index("fake, resnet8 Recipe")
    assert "DGL & co_1 at K = 2 needs the least memory, 0.50× that of Backprop" in words
    options = ["--runs", str(s.runs), "--root", str(s.root), "--out", str(s.root / "out")]
    shown = CliRunner().invoke(app, ["report", "--sweep", str(s.root / "sweep.yaml"), *options])
    lines = shown.output.splitlines()
    assert lines[:4] == [
        "against Backprop: 1 lower, 1 higher, 1 not told apart",
        "lowest test error: DGL & co_1 K=4 8.05 %, 0 of 3 not told apart",
        "least memory: DGL & co_1 K=2 0.50×, test error +3.00",
        "least time a step: Greedy K=2 0.80×, test error +0.01",
    ]
    assert lines[-1].endswith("report.html")


def test_nothing_done_says_nothing(site: Any) -> None:
    s = site()
    assert "In short" not in s.words()
    assert json.loads((s.root / "out/answer.json").read_text()) == []
    assert terminal([]) == []


def test_many_places_in_few_lines() -> None:
    places = [
        {"dataset": f"d{n}", "network": "net", "settings": "", "line": "lowest: " + "x" * 90}
        for n in range(9)
    ]
    lines = terminal(places)
    assert len(lines) == 6
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("d0 net: lowest:")
    assert lines[-1] == "and 4 more, in the page"


def test_what_is_not_found_with_few_seeds_is_not_relied_on(site: Any) -> None:
    """Four seeds, one configuration not told apart: the chance is that of simulated differences."""
    s = site({"sweep": "a", "grids": [GRID | {"recipes": RECIPES[:2], "modules": [2], "seeds": 4}]})
    gaps = np.array([0.4, -0.3, 0.5, 0.0])
    s.fill("backprop", 1, list(BASE[:4]))
    s.fill("dgl", 2, list(BASE[:4] + gaps))
    first = told(s)[0]
    draws = np.random.default_rng(5).normal(0.5, np.std(gaps, ddof=1), (40_000, 4))
    chance = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    words, percent = first["text"].split(" is found with a chance of ")
    assert words.endswith("with n = 4 a true difference of 0.5 points")
    assert float(percent.split(" %")[0]) == pytest.approx(100 * chance, abs=1.5)
    assert first["brief"].startswith("too few seeds: n = 4 finds 0.5 points at ")


def test_a_spread_that_is_not_known(site: Any) -> None:
    s = site({"sweep": "a", "grids": [GRID | {"recipes": RECIPES[:2], "modules": [2], "seeds": 1}]})
    s.fill("backprop", 1, [10.0])
    s.fill("dgl", 2, [10.5])
    assert texts(s)["seeds"] == (
        "Too few seeds: 1 of 1 configuration (recipe and K) has fewer than 3 in common with "
        "Backprop, without which nothing is tested; 3 are the least, and two tell how many would "
        "do."
    )


def test_settings_have_answers_of_their_own(site: Any) -> None:
    """What the sweep trains with other settings is another family."""
    grid = GRID | {"recipes": RECIPES[:2], "modules": [2]}
    s = site({"sweep": "a", "grids": [grid, grid | {"training": {"epochs": 9}}]})
    for epochs, shift in ((3, 3.0), (9, -2.0)):
        for seed, value in enumerate(BASE):
            s.run(s.cell("backprop", 1, seed, epochs=epochs), value, planned=epochs)
            reached = value + shift + NOISE[seed]
            s.run(s.cell("dgl", 2, seed, epochs=epochs), reached, planned=epochs)
    words = s.words()
    answers = json.loads((s.root / "out/answer.json").read_text())
    assert [a["settings"] for a in answers] == ["", "epochs=9"]
    assert [a["sentences"][0]["brief"] for a in answers] == [
        "against Backprop: 0 lower, 1 higher, 0 not told apart",
        "against Backprop: 1 lower, 0 higher, 0 not told apart",
    ]
    assert "fake, resnet8 (epochs=9)" in words
    assert terminal(answers) == [
        "fake resnet8: lowest: Backprop 10.05 %, 0 of 1 not told apart",
        "fake resnet8 (epochs=9): lowest: DGL & co_1 K=2 8.05 %, 0 of 1 not told apart",
    ]


def test_how_often_a_sweep_of_equal_recipes_finds_one(site: Any) -> None:
    """No more often than the level, within what 500 draws allow (99.9 %): five against one."""
    rng, wrong, draws = np.random.default_rng(7), 0, 500
    for _ in range(draws):
        cells = pairs.Cells(
            [("r", n) for n in range(6)],
            rng.normal(0, 1, (5, 6)),
            [frozenset({(64.0, 3.0)})] * 6,
            [0] * 6,
            [5] * 6,
        )
        found = pairs.compare(cells, [(n, 0) for n in range(1, 6)], PrimaryMetric())
        wrong += bool(found["found"].isin(["better", "worse"]).any())
    assert stats.binom.ppf(0.0005, draws, 0.015) < wrong < stats.binom.ppf(0.9995, draws, 0.05)
