"""The page of transfer between tasks: its numbers against numbers worked out here."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from conftest import GRID, Site  # type: ignore[import-not-found]
from modulewise.report.studies import _ranking
from modulewise.runs.provenance import study_hash
from modulewise.runs.study import StudyResult

TASKS = ["task-a", "task-b", "task-c", "task-d", "task-e"]
SWEEP: dict[str, Any] = {
    "sweep": "small",
    "datasets": "config/tasks.yaml",
    "grids": [GRID | {"datasets": TASKS, "recipes": ["dgl"], "modules": [2], "seeds": 2}],
    "studies": {"transfer": {"options": {"targets": TASKS}}},
}
RANDOM = np.random.default_rng(1)
TRUTH = RANDOM.uniform(60, 95, (2, 5, 5))
"""Accuracy by seed, source and target."""
SCORE = TRUTH / 100 + RANDOM.normal(0, 0.01, TRUTH.shape)
LEEP = -TRUTH / 100 + RANDOM.normal(0, 0.01, TRUTH.shape)
PROBE = TRUTH + RANDOM.normal(0, 8, TRUTH.shape)
OTHERS = ~np.eye(5, dtype=bool)

Make = Callable[..., Site]


def found(seed: int, source: int) -> dict[str, Any]:
    """What the study found on a run."""

    def net(of: dict[str, Any], target: int) -> dict[str, Any]:
        values = {n: float(v[seed, source, target]) for n, v in of.items()}
        return values | {"seconds": {"score": 0.5, "leep": 0.6, "probe": 2.0, "accuracy": 3.0}}

    trained = {"score": SCORE, "leep": LEEP, "probe": PROBE, "accuracy": TRUTH}
    untrained = {n: np.full_like(v, 0.7 if n == "score" else 55.0) for n, v in trained.items()}
    targets = {
        name: {
            "images": 100,
            "batches": 2,
            "batch": 20,
            "trained": net(trained, j),
            "untrained": net(untrained, j),
        }
        for j, name in enumerate(TASKS)
    }
    return {"targets": targets, "train_seconds": 50.0}


def written(site: Make, leave_out: int = 0) -> Site:
    """All runs and measurements but for the last ones."""
    entry = "{source: fake, shape: [3, 16, 16], classes: 4}"
    (root := site().root).joinpath("config/tasks.yaml").write_text(
        "datasets:\n" + "".join(f"  {name}: {entry}\n" for name in TASKS)
    )
    made = site(SWEEP)
    assert made.root == root
    for cell in made.cells:
        made.run(cell, 10.0)
    studies = made.plan.studies
    for one in studies[: len(studies) - leave_out]:
        StudyResult(
            study="transfer",
            cell=one.cell.id,
            weights="w",
            found=found(one.cell.seed, TASKS.index(one.cell.dataset)),
            seconds=1.0,
            device="CPU",
            commit=None,
            source=study_hash("transfer", one.cell),
            versions={},
        ).save(made.runs / one.path)
    made.report()
    return made


def words(site: Site) -> str:
    text = (site.root / "out" / "transfer.html").read_text()
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


def test_correlations_are_those_of_scipy_without_the_diagonal(site: Make) -> None:
    made = written(site)
    table = made.table("transfer_scores_resnet8_dgl_k2").set_index("score")
    each = made.table("transfer_targets_resnet8_dgl_k2").set_index("target")
    truth = TRUTH.mean(0)
    for name, values in (("score", SCORE), ("leep", LEEP), ("probe", PROBE)):
        s = values.mean(0)
        columns = [(s[OTHERS[:, j], j], truth[OTHERS[:, j], j]) for j in range(5)]
        rho = [stats.spearmanr(a, b).statistic for a, b in columns]
        tau = [stats.kendalltau(a, b).statistic for a, b in columns]
        lost = [b.max() - b[a.argmax()] for a, b in columns]
        assert each[f"{name}_spearman"].to_numpy() == pytest.approx(rho)
        assert each[f"{name}_kendall"].to_numpy() == pytest.approx(tau)
        assert each[f"{name}_regret"].to_numpy() == pytest.approx(lost, abs=1e-9)
        row = table.loc[name]
        assert row["spearman"] == pytest.approx(np.mean(rho))
        assert row["kendall"] == pytest.approx(np.mean(tau))
        assert (row["regret"], row["largest_regret"]) == pytest.approx((np.mean(lost), max(lost)))
        flat = stats.spearmanr(s[OTHERS], truth[OTHERS]), stats.kendalltau(s[OTHERS], truth[OTHERS])
        pooled = row["pooled_spearman"], row["pooled_kendall"]
        assert pooled == pytest.approx([f.statistic for f in flat])
        for figure in _ranked():
            assert row[f"{figure}_low"] <= row[figure] <= row[f"{figure}_high"]
        assert min(rho) - 1e-9 <= row["spearman_low"] and row["spearman_high"] <= max(rho) + 1e-9
    assert table["spearman"].nunique() == 3


def _ranked() -> list[str]:
    return ["spearman", "kendall", "pooled_spearman", "pooled_kendall", "regret"]


def test_the_sentences_say_what_the_numbers_do(site: Make) -> None:
    said = words(written(site))
    assert "Pair objective has the highest rank correlation" in said
    assert "Linear probe and LEEP rank worse. Points" in said
    assert "5 sources, 5 targets, the mean over 2 seeds (0, 1)" in said
    below = (np.where(OTHERS, SCORE.mean(0), np.inf) < 0.7).sum()
    assert f"{below} of 20 modules score below it" in said and 0 < below < 20
    assert "55.00 % accuracy" in said
    assert "500 ms 1 % " in said, "0.5 of 50 seconds"
    chance = np.mean(
        [c[OTHERS[:, j]].max() - c[OTHERS[:, j]].mean() for j, c in enumerate(TRUTH.mean(0).T)]
    )
    assert re.search(rf"Any source, on average .{{0,40}}{chance:.2f} \[", said)


def test_a_page_of_a_part_of_the_runs(site: Make) -> None:
    """Both seeds of the last source and one of the last but one are missing."""
    made = written(site, leave_out=3)
    said = words(made)
    assert "7 of 10 runs measured" in said and "4 sources, 5 targets" in said
    each = made.table("transfer_targets_resnet8_dgl_k2").set_index("target")
    truth = np.where(OTHERS, TRUTH.mean(0), np.nan)[:4]
    truth[3] = np.where(OTHERS[3], TRUTH[0, 3], np.nan)
    assert each["best_accuracy"].to_numpy() == pytest.approx(np.nanmax(truth, 0))
    assert np.isnan(each.loc["task-e", "own"])


def test_pictures(site: Make, sketched: None) -> None:
    made = written(site)
    stems = {p.stem for p in (made.root / "out" / "figures").glob("transfer_*.svg")}
    kinds = ("accuracy", "score", "leep", "probe", "scatter", "map")
    assert stems == {f"transfer_{kind}_resnet8_dgl_k2" for kind in kinds}
    assert "could not be drawn" not in words(made)


def test_a_score_that_ranks_ties() -> None:
    """Of two sources ranked first, the mean is lost; equal scores have no correlation."""
    truth = np.array([90.0, 80.0, 70.0])
    assert _ranking.regret(np.array([1.0, 1.0, 0.0]), truth) == pytest.approx(5.0)
    assert _ranking.regret_of_chance(truth, truth) == pytest.approx(10.0)
    assert np.isnan(_ranking.spearman(np.ones(3), truth))
    assert np.isnan(_ranking.kendall(truth, np.ones(3)))


def test_a_bootstrap_of_a_mean_is_as_wide_as_its_standard_error() -> None:
    values = pd.Series(np.random.default_rng(2).normal(0, 1, 400))
    estimate = _ranking.mean_of(values)
    half = 1.96 * values.std(ddof=0) / np.sqrt(400)
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.1)


def test_a_map_keeps_the_distances_of_a_plane() -> None:
    points = np.random.default_rng(0).normal(size=(7, 2)) * [3, 1]
    found, share = _ranking.plane(squareform(pdist(points)) ** 2)
    assert pdist(found) == pytest.approx(pdist(points)) and share == pytest.approx(1)
    _, share = _ranking.plane(squareform(pdist(np.eye(4))) ** 2)
    assert share == pytest.approx(2 / 3), "two of the three equal axes of a tetrahedron"


def test_distances_of_scores_are_those_of_their_inner_products() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))
    skew = np.triu(np.ones((5, 5)), 1)
    squared = _ranking.squared_distances(x @ x.T + skew - skew.T)
    for i, j in product(range(5), repeat=2):
        assert squared[i, j] == pytest.approx(((x[i] - x[j]) ** 2).sum(), abs=1e-9)
