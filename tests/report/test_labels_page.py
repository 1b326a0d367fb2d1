"""The page of label efficiency: its numbers against numbers worked out here."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from scipy import stats

from modulewise.config import references
from modulewise.config.plan import load_plan
from modulewise.errors import InvalidInput
from modulewise.runs.provenance import study_hash
from modulewise.runs.study import StudyResult

GRID: dict[str, Any] = {"datasets": ["fake"], "networks": ["resnet8"]}
ALONE = GRID | {"recipes": ["backprop"], "modules": [1], "seeds": 4}
SWEEP: dict[str, Any] = {
    "sweep": "small",
    "grids": [
        GRID | {"recipes": ["backprop", "dgl"], "modules": [2], "seeds": 3},
        ALONE | {"training": {"train_images": 4, "epochs": 9}},
        ALONE | {"training": {"train_images": 20, "lr": 0.1}},
    ],
    "studies": {"labels": {"grids": [0], "options": {"per_class": [1, 5, 10], "draws": 4}}},
}
DEFAULT = [1, 2, 5, 10, 50, 100]
COUNTS = [1.0, 5.0, np.inf]
RANDOM = np.random.default_rng(0)
REFITTED = {
    "dgl": RANDOM.normal(10, 1, (3, 2, 4)),  # trunk, number of labels, draw
    "backprop": RANDOM.normal(14, 1, (3, 2, 4)),
    "floor": RANDOM.normal(70, 1, (3, 2, 4)),
}
WHOLE = {"dgl": [5.0, 5.5, 6.5], "backprop": [6.5, 6.0, 7.5], "floor": [60.0, 61.0, 62.0]}
FEW = {4: [41.0, 43.0, 40.0, 48.0], 20: [11.0, 9.0, 12.5, 10.0]}
RUNS = [4.0, 5.0, 7.0]
"""Test error of the nets trained on all labels."""

Make = Callable[..., Any]
Site = Any
"""Of this room's `conftest.py`."""


def written(site: Make, sweep: dict[str, Any] = SWEEP, **found: Any) -> Site:
    """All runs and measurements."""
    made = site(sweep)
    for cell in made.cells:
        if images := cell.training.train_images:
            made.run(cell, FEW[images][cell.seed])
        else:
            made.run(cell, RUNS[cell.seed] + (cell.recipe == "dgl"))
    for one in made.plan.studies:
        cell = one.cell
        values = {"errors": REFITTED, "all": WHOLE}
        of = {
            name: {k: np.asarray(v[name])[cell.seed].tolist() for k, v in values.items()}
            for name in (cell.recipe, "floor")
        }
        content = of[cell.recipe] | {
            "per_class": [1, 5],
            "floor": of["floor"],
            "left_out": [10],
            "classes": 4,
            "labels_of_the_trunk": "pair" if cell.recipe == "dgl" else "class",
        }
        StudyResult(
            study="labels",
            cell=cell.id,
            weights="w",
            found=content | found,
            seconds=1.0,
            device="CPU",
            commit=None,
            source=study_hash("labels", cell),
            versions={},
        ).save(made.runs / one.path)
    made.report()
    return made


def words(site: Site) -> str:
    text = (site.root / "out" / "labels.html").read_text()
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


def expected(values: Any) -> tuple[float, float, float]:
    """Mean and t-interval."""
    centre, half = np.mean(values), stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return float(centre), float(centre - half), float(centre + half)


def found(table: pd.DataFrame, **where: Any) -> pd.Series:
    (row,) = (r for _, r in table.iterrows() if all(r[k] == v for k, v in where.items()))
    return row


def test_means_are_over_the_draws_of_a_trunk_first(site: Make) -> None:
    table = written(site).table("labels_fake_resnet8")
    for recipe in ("dgl", "backprop"):
        for place, labels in enumerate(COUNTS):
            row = found(table, kind="refitted", recipe=recipe, labels=labels)
            draws = REFITTED[recipe][:, place] if place < 2 else np.array(WHOLE[recipe])[:, None]
            assert row["trunks"] == 3
            assert (row["mean"], row["low"], row["high"]) == pytest.approx(
                expected(draws.mean(1)), abs=1e-9
            )
            if place < 2:
                between = np.sqrt(draws.var(1, ddof=1).mean())
                assert (row["draws"], row["sd_between_draws"]) == (4, pytest.approx(between))
            else:
                assert row["draws"] == 0
                assert np.isnan(row["sd_between_draws"])
    row = found(table, kind="untrained", labels=5.0)
    assert row["mean"] == pytest.approx(REFITTED["floor"][:, 1].mean())


def test_nets_trained_on_the_labels_alone_are_found_by_their_number(site: Make) -> None:
    table = written(site).table("labels_fake_resnet8")
    for labels, values in zip(COUNTS, [FEW[4], FEW[20], RUNS], strict=True):
        row = found(table, kind="alone", recipe="backprop", labels=labels)
        assert (row["trunks"], row["mean"]) == (len(values), pytest.approx(np.mean(values)))
        assert row["draws"] == (0 if labels == np.inf else len(values))
        assert (row["low"], row["high"]) == pytest.approx(expected(values)[1:])
    assert set(table.loc[table["kind"] == "alone", "recipe"]) == {"backprop"}


def test_differences_are_paired_by_trunk_and_draw(site: Make) -> None:
    made = written(site)
    table = made.table("labels_differences_fake_resnet8")
    p = []
    for place, labels in enumerate(COUNTS):
        refitted = (
            (REFITTED["dgl"] - REFITTED["backprop"])[:, place].mean(1)
            if place < 2
            else np.subtract(WHOLE["dgl"], WHOLE["backprop"])
        )
        ours = [REFITTED["dgl"][s, place, s] if place < 2 else WHOLE["dgl"][s] for s in range(3)]
        theirs = [FEW[4], FEW[20], RUNS][place][:3]
        for against, values in (
            ("refitted", refitted),
            ("alone", np.subtract(ours, theirs)),
        ):
            row = found(table, recipe="dgl", against=against, labels=labels)
            assert row["n"] == 3
            assert (row["mean"], row["low"], row["high"]) == pytest.approx(expected(values))
            p.append((against, labels, float(stats.ttest_1samp(values, 0).pvalue)))
    assert len(table) == len(p) == 6
    largest = 0.0
    for rank, (against, labels, value) in enumerate(sorted(p, key=lambda one: one[2])):
        largest = max(largest, min(1.0, (6 - rank) * value))
        row = found(table, against=against, labels=labels)
        assert row["p_holm"] == pytest.approx(largest)
        side = "better" if row["mean"] < 0 else "worse"
        assert row["verdict"] == (side if largest < 0.05 else "not distinguishable")
    assert {"better", "not distinguishable"} == set(table["verdict"]), "the numbers tell both"


def test_the_page_says_from_how_many_labels_an_arm_is_better(site: Make) -> None:
    text = words(written(site))
    assert "6 of 6 runs measured" in text, "nets on few images are no trunks"
    assert (
        "DGL & co_1, K = 2, refitted against Backprop, alone, by labels per class: "
        "better with 1; not distinguishable with 5 and all." in text
    )
    assert "fake: a class has fewer training images than 10." in text
    assert "The trunk’s training was told which images are of one class." in text


def test_every_single_number_is_there(site: Make) -> None:
    table = written(site).table("labels_each_fake_resnet8")
    mine = table[(table["recipe"] == "dgl") & (table["labels"] == 5)]
    assert np.sort(mine["error"]) == pytest.approx(np.sort(REFITTED["dgl"][:, 1].ravel()))
    assert len(table) == 3 * (2 * 4 + 1) * 3 + 4 + 4 + 3


def test_equal_differences_and_single_seeds_are_not_tested(site: Make) -> None:
    made = written(site, errors=[[5.0, 6.0], [3.0, 4.0]], all=2.0)
    table = made.table("labels_differences_fake_resnet8")
    table = table[table["against"] == "refitted"]
    assert list(table["mean"]) == [0, 0, 0]
    assert table["p_holm"].isna().all()
    assert "no test" in words(made)


def test_a_published_number_stands_beside_its_own_arm_alone(site: Make) -> None:
    made = written(site)
    (made.root / "config" / "references.csv").write_text(
        "dataset,network,recipe,modules,metric,value,spread,spread_kind,n,selection,epochs,"
        "training,split,tolerance,source,note\n"
        "fake,resnet8,dgl,2,test_error-labels-1,5.12,,none,,unknown,,recipe,test,0.5,Duan,a\n"
        "fake,resnet8,dgl,4,test_error-labels-1,7.77,,none,,unknown,,recipe,test,0.5,Duan,\n"
        "pixels,resnet8,dgl,2,test_error-labels-1,8.88,,none,,unknown,,recipe,test,0.5,Duan,\n"
    )
    made.report()
    text = words(made)
    assert re.search(r"DGL & co_1, refitted, published [\w ]+ 1 – – 5.12 ", text)
    assert "7.77" not in text
    assert "8.88" not in text


@pytest.mark.usefixtures("sketched")
def test_the_figure_has_a_line_an_arm(site: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(
        Figure, "savefig", lambda self, file, **_: (drawn.append(self), file.write(b"<svg></svg>"))
    )
    written(site)
    fig, *_ = (f for f in drawn if f.axes[0].get_xlabel() == "labels per class")
    names = [text.get_text() for legend in fig.legends for text in legend.get_texts()]
    assert names == [
        "Backprop, refitted",
        "DGL & co_1, K = 2, refitted",
        "Backprop, alone",
        "Untrained, refitted",
    ]
    curves = [line.get_ydata() for line in fig.axes[0].lines if len(line.get_xdata()) == 3]
    for name, curve in zip(("backprop", "dgl"), curves, strict=False):
        means = [*REFITTED[name].mean((0, 2)), np.mean(WHOLE[name])]
        assert np.asarray(curve) == pytest.approx(means)
    assert len(curves) == 4


def test_grids_that_the_sweep_lacks_are_refused(site: Make, tmp_path: Path) -> None:
    site(SWEEP)
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(SWEEP | {"studies": {"labels": {"grids": [0, 3]}}}))
    with pytest.raises(InvalidInput, match=r"studies\.labels\.grids: 3 of 3 grids; they count"):
        load_plan(path, tmp_path)


def test_the_committed_sweep_has_the_arms_and_the_published_number() -> None:
    config = Path(__file__).parents[2] / "config"
    plan = load_plan(config / "papers" / "survey-labels.yaml", config.parent)
    trunks = {(c.dataset, c.network, c.recipe, c.modules) for c in (s.cell for s in plan.studies)}
    (number,) = (
        r
        for r in references.load(config / references.FILE)
        if r.metric.startswith("test_error-labels-")
    )
    assert (number.dataset, number.network, number.recipe, number.modules) in trunks
    assert (number.metric, number.value) == ("test_error-labels-1", pytest.approx(100 - 94.88))
    few = {c.training.train_images for c in plan.cells} - {None}
    assert few == {10 * n for n in plan.sweep.studies["labels"].options.get("per_class", DEFAULT)}
    assert {(s.cell.recipe, s.cell.seed) for s in plan.studies} == {
        (recipe, seed) for recipe in ("backprop-kernet", "pairwise") for seed in range(5)
    }
