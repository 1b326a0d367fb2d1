"""Our runs beside published numbers: the file, what is compared, what the page says."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from modulewise.cli.app import app
from modulewise.config import references
from modulewise.config.references import Reference, load
from modulewise.config.resolve import Catalog
from modulewise.errors import InvalidInput

ROOT = Path(__file__).parents[2]
HEADER = (
    "dataset,network,recipe,modules,metric,value,spread,spread_kind,n,selection,epochs,split,"
    "tolerance,source,note"
)
DGL = "fake,resnet8,dgl,2,test_error,11.0,0.2,sd,5,last,3,test,0.5,a paper,"


def write(s: Any, *rows: str) -> None:
    (s.root / "config/references.csv").write_text("\n".join([HEADER, *rows]) + "\n")


def row_of(s: Any, recipe: str = "dgl", modules: int = 2) -> pd.Series:
    table = s.table("published_fake_resnet8")
    (row,) = [r for _, r in table.iterrows() if (r["recipe"], r["modules"]) == (recipe, modules)]
    return row


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "tolerance,source",
            "toleranc,source",
            "line 1: unknown column 'toleranc'; did you mean 'tolerance'?",
        ),
        ("split,tolerance", "tolerance,tolerance", "line 1: duplicate column tolerance"),
        (
            ",sd,",
            ",std,",
            "line 2: spread_kind: input should be 'sd', 'se', 'ci95', 'none' or 'unknown', got "
            "'std'",
        ),
        (",0.2,sd", ",,sd", "a spread needs a spread_kind"),
        (",11.0,", ",-1,", "line 2: value: input should be greater than or equal to 0"),
        (",11.0,", ",nan,", "line 2: value: "),
        ("fake,resnet8,dgl", "fake,resnet8", "line 2: not as many fields as line 1 names columns"),
        ("dgl,2,", "dgl,two,", "line 2: modules: "),
        (",a paper,", ",,", "line 2: source: missing"),
        ("a paper,", '"a paper,', "no valid CSV"),
        (
            DGL,
            f"{DGL}\n{DGL}",
            "line 3: the same number as line 2: fake, resnet8, dgl, 2, test_error, a paper",
        ),
    ],
)
def test_wrong_references_are_told_in_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "references.csv"
    content = f"{HEADER}\n{DGL}\n"
    assert old in content
    path.write_text(content.replace(old, new, 1))
    with pytest.raises(InvalidInput) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_unknown_must_be_said(tmp_path: Path) -> None:
    path = tmp_path / "references.csv"
    path.write_text(f"{HEADER},training\n{DGL},unknown\n")
    with pytest.raises(InvalidInput, match=r"line 2: .*unknown needs a note that says"):
        load(path)


def test_the_command_line_tells_it_too(site: Any) -> None:
    s = site()
    write(s, DGL.replace(",sd,", ",std,"))
    answer = CliRunner().invoke(
        app,
        [
            "report",
            "--sweep",
            str(s.root / "sweep.yaml"),
            "--root",
            str(s.root),
            "--out",
            str(s.root / "out"),
        ],
    )
    assert isinstance(answer.exception, InvalidInput)
    assert str(answer.exception).startswith(f"{s.root}/config/references.csv: line 2: spread_kind")
    assert not (s.root / "out").exists()


def test_no_file_no_references(tmp_path: Path) -> None:
    assert load(tmp_path / "none.csv") == []


INFOPRO = "InfoPro, arXiv 2101.10832, table "
MAN = "MAN, arXiv 2407.05623, CIFAR-10 table"


def test_every_published_number_belongs_to_a_cell() -> None:
    """Its cell can be made by the configuration; its epochs are named where the papers' recipe is
    not the published one. None that is written down is lost."""
    catalog = Catalog(ROOT / "config/recipes.yaml", ROOT / "config/datasets.yaml")
    ours = load(ROOT / "config" / references.FILE)
    assert len(ours) >= 293
    for r in ours:
        cell = catalog.cell(r.dataset, r.network, r.recipe, r.modules, 0)
        iterations = cell.training.iterations
        trained = f"{iterations} iterations" if iterations else cell.training.epochs
        if r.source.startswith(INFOPRO):
            assert trained == r.epochs
        elif r.source == MAN:
            assert r.epochs == 400, "of the paper's sweep; all else as the recipe trains"
        elif r.metric == "test_error":
            assert r.training == "other" or trained == r.epochs


def test_what_infopros_table_2_leaves_open() -> None:
    """Its code was released for ResNets, with greedy learning and contrastive InfoPro at every K
    beside end-to-end training; nothing else of the table can be configured without a guess."""
    table = [r for r in load(ROOT / "config" / references.FILE) if r.source == INFOPRO + "2"]
    open_ = [r for r in table if r.training == "unknown"]
    released = {"greedy", "infopro"}
    assert len(table) == 91 and len(open_) == 16 + 4 * 4 + 4 + 2 + 4 * 4
    for r in table:
        known = r.modules == 1 or (r.recipe in released and r.network.startswith("resnet"))
        assert (r.training == "unknown") == (not known), r


def test_infopros_errors_are_consistent() -> None:
    """The numbers' order is plausible: more modules, more error; greedy, DGL and InfoPro in this
    order."""
    ours = [
        r
        for r in load(ROOT / "config" / references.FILE)
        if r.metric == "test_error"
        and r.source.startswith(INFOPRO)
        and r.dataset != "imagenet"  # one run each, without a spread
    ]
    assert len(ours) == 91 + 8
    by_cell: dict[tuple[str, str, str, int], Reference] = {}
    for r in ours:
        assert r.spread is not None and 0 < r.spread < 0.1 * r.value
        assert (r.dataset, r.network, r.recipe, r.modules) not in by_cell
        by_cell[r.dataset, r.network, r.recipe, r.modules] = r
    for (dataset, network, recipe, modules), r in by_cell.items():
        base = by_cell[dataset, network, "backprop", 1]
        assert r.value > base.value - 2 * (base.spread or 0)
        if recipe in ("dgl", "greedy-plus"):
            assert r.value < by_cell[dataset, network, "greedy", modules].value
        if recipe in ("infopro", "infopro-softmax"):
            assert r.value < by_cell[dataset, network, "dgl", modules].value
    for dataset, network in {k[:2] for k in by_cell}:
        for recipe in {k[2] for k in by_cell}:
            rising = [
                by_cell[k]
                for k in sorted(k for k in by_cell if k[:3] == (dataset, network, recipe))
            ]
            assert all(a.value < b.value for a, b in pairwise(rising))


def test_infopros_costs_agree_with_one_another() -> None:
    """The printed reductions are those of the printed memories, to the last digit but one."""
    ours = [r for r in load(ROOT / "config" / references.FILE) if r.source == INFOPRO + "3"]
    value = {(r.dataset, r.recipe, r.modules, r.metric): r.value for r in ours}
    saved = {k[:3]: v for k, v in value.items() if k[3] == "memory_reduction"}
    assert len(saved) == 8
    for (dataset, recipe, modules), percent in saved.items():
        share = (
            value[dataset, recipe, modules, "memory_gb"]
            / value[dataset, "backprop", 1, "memory_gb"]
        )
        assert percent == pytest.approx(100 * (1 - share), abs=0.11)


def test_an_error_in_accuracy_stays_what_it_was() -> None:
    """Two papers that print accuracy: 79.85 ± 0.93 and 92.86 %."""
    ours = {
        (r.source[:4], r.recipe, r.network, r.dataset, r.modules): r
        for r in load(ROOT / "config" / references.FILE)
        if "TRGL" in r.source[:4] or "MemC" in r.source[:4]
    }
    theirs = ours["TRGL", "dgl", "resnet110", "stl10", 2]
    assert (theirs.value, theirs.spread, theirs.spread_kind, theirs.n) == (20.15, 0.93, "ci95", 5)
    assert {
        r.selection for k, r in ours.items() if k[0] == "TRGL" and r.metric == "test_error"
    } == {"unknown"}
    assert {r.split for k, r in ours.items() if k[0] == "TRGL" and r.metric == "test_error"} == {
        "half of the test set"  # the released loaders keep the other half for validation
    }
    assert ours["TRGL", "backprop", "resnet110", "stl10", 1].value == pytest.approx(
        6230 * 2**20 / 1e9, abs=0.005
    )
    assert ours["MemC", "backprop", "resnet32", "cifar10", 1].value == 7.14


def test_the_table_beside_published_numbers(site: Any) -> None:
    s = site()
    write(
        s,
        DGL,
        "fake,resnet8,greedy,2,test_error,11.0,0.1,se,4,last,3,test,0.5,a paper,by hand",
        "other,resnet8,dgl,2" + DGL[18:],
    )
    s.fill("dgl", 2, [10.8, 11.0, 11.2, 11.0])
    s.fill("greedy", 2, [14.0, 14.2, 13.8, 14.0])
    words = s.words()
    assert (
        "DGL & co_1 2 11.00 ± 0.16 4 11.00 ± 0.20 sd a 5 +0.00 [−0.23, +0.23] ± 0.5 "
        "reproduced 1 10 25.0 %" in words
    )
    assert "Greedy 2 14.00 ± 0.16 4 11.00 ± 0.10 se b 4 +3.00" in words
    assert "b a paper (by hand)" in words
    assert "at best epoch" not in words.split("Verdicts on published numbers")[0]
    assert row_of(s, "greedy")["verdict"] == "worse"
    assert row_of(s)["p_holm"] == pytest.approx(1.0)
    assert row_of(s, "greedy")["p_holm"] == pytest.approx(2 * row_of(s, "greedy")["p"])
    latex = (s.root / "out/tables/published_fake_resnet8.tex").read_text()
    assert r"$\pm$ 0.5 & reproduced & 1 & 10" in latex
    assert len(s.table("published_fake_resnet8")) == 2


def test_few_seeds_are_provisional(site: Any) -> None:
    s = site()
    write(
        s,
        DGL,
        DGL.replace("dgl,2", "dgl,4"),
        DGL.replace("dgl,2", "greedy,2"),
        DGL.replace("dgl,2", "backprop,1"),
    )
    s.fill("dgl", 2, [11.0, 11.01])
    s.fill("dgl", 4, [11.0])
    s.fill("greedy", 2, [10.6, 11.7, 11.2])
    words = s.words()
    assert "± 0.5 (reproduced)" in words
    assert "± 0.5 one seed: no interval" in words
    assert "± 0.5 no run yet" in words
    needed = row_of(s, "greedy")["seeds_needed"]
    assert needed > 3
    assert f"± 0.5 inconclusive {needed:.0f} " in words


UNJUDGED = [
    (",last,3,", ",last,160,", "not comparable", "ours trained 3 epochs, the published 160"),
    (
        ",last,3,",
        ",last,40000 iterations,",
        "not comparable",
        "ours trained 3 epochs, the published 40000 iterations",
    ),
    (",last,3,", ",last,,", "not comparable", "the published number of epochs is unknown"),
    (
        ",3,test,",
        ",3,validation,",
        "not comparable",
        "published for validation, ours are for the test set",
    ),
    (",recipe", ",other", "not comparable", "published with other training settings"),
    (
        ",recipe",
        "head not said,unknown",
        "configuration unknown",
        "the published configuration is not known: head not said",
    ),
    (
        ",0.2,sd,5,last,3,test,0.5,a paper,,recipe",
        ",,none,5,last,3,test,0.5,a paper,head not said,unknown",
        "configuration unknown",
        "the published configuration is not known: head not said; no spread is published",
    ),
    (
        ",last,3,test,0.5,a paper,,recipe",
        ",last,160,test,0.5,a paper,head not said,unknown",
        "not comparable",
        "ours trained 3 epochs, the published 160; the published configuration is not known: head "
        "not said",
    ),
    (",0.2,sd,5", ",0.2,unknown,5", "not judged", "the kind of the published spread is unknown"),
    (",0.2,sd,5", ",,none,5", "not judged", "no spread is published"),
    (",0.2,sd,5", ",0.2,sd,", "not judged", "the published number of runs is unknown"),
    (",0.2,sd,5", ",0.2,sd,1", "not judged", "a single run is published"),
]
"""Change to a row of references, the label in place of a verdict, and its reason."""


def test_what_is_not_comparable_or_not_judged_says_why(site: Any) -> None:
    """The difference stands there, and no test is made."""
    s = site()
    plain = f"{DGL},recipe"
    rows = [
        plain.replace(old, new).replace("a paper", f"paper {n}")
        for n, (old, new, _, _) in enumerate(UNJUDGED)
    ]
    (s.root / "config/references.csv").write_text("\n".join([f"{HEADER},training", *rows]))
    s.fill("dgl", 2, [11.0, 11.1, 11.2])
    words = s.words()
    table = s.table("published_fake_resnet8")
    assert list(table[["verdict", "reason"]].itertuples(index=False, name=None)) == [
        (label, reason) for _, _, label, reason in UNJUDGED
    ]
    assert list(table["difference"]) == pytest.approx([0.1] * len(UNJUDGED))
    assert table["p"].isna().all()
    for _, _, _, reason in UNJUDGED:
        assert f" {reason} " in words


@pytest.mark.parametrize("training", ["", "unknown"])
def test_an_unknown_configuration_is_outside_the_family(site: Any, training: str) -> None:
    """Of two numbers, one of an unknown configuration: the other's p-value stays what it is, and is
    doubled where both are known (it is the smaller one)."""
    s = site()
    rows = [f"{DGL},", f"{DGL.replace('dgl,2', 'greedy,2')}head not said,{training}"]
    (s.root / "config/references.csv").write_text("\n".join([f"{HEADER},training", *rows]))
    s.fill("dgl", 2, [14.0, 14.2, 13.8, 14.0])
    s.fill("greedy", 2, [11.0, 11.1, 11.2, 11.1])
    s.report()
    known, other = row_of(s), row_of(s, "greedy")
    assert known["p_holm"] == pytest.approx(known["p"] * (1 if training else 2))
    assert other["verdict"] == ("configuration unknown" if training else "reproduced")
    assert pd.isna(other["p"]) == bool(training)
    assert other["difference"] == pytest.approx(0.1)


def test_other_settings_and_fewer_images_are_not_comparable(site: Any) -> None:
    grid = {
        "datasets": ["fake"],
        "networks": ["resnet8"],
        "recipes": ["dgl"],
        "modules": [2],
        "seeds": 3,
    }
    s = site(
        {
            "sweep": "x",
            "grids": [
                grid | {"training": {"lr": 0.1}},
                grid | {"training": {"train_images": 64}},
                grid | {"training": {"precision": "bf16"}},
            ],
        }
    )
    write(s, DGL)
    for seed in range(3):
        for settings in ({"lr": 0.1}, {"train_images": 64}, {"precision": "bf16"}):
            s.run(s.cell("dgl", 2, seed, **settings), 11.0 + seed / 10)
    s.report()
    table = s.table("published_fake_resnet8").fillna("")
    assert list(table["reason"]) == ["the sweep changes lr", "ours trained on 64 images", ""]
    assert list(table["verdict"]) == ["not comparable", "not comparable", "reproduced"]


def test_the_epoch_that_was_published(site: Any) -> None:
    s = site()
    write(
        s,
        DGL.replace("last", "unknown"),
        DGL.replace("dgl,2", "dgl,4").replace("last", "best_on_test"),
    )
    for k in (2, 4):
        for seed, error in enumerate([12.9, 13.0, 13.1]):
            s.run(s.cell("dgl", k, seed), error, best=error - 2)
    words = s.words()
    unknown, best = row_of(s), row_of(s, modules=4)
    assert (unknown["verdict"], unknown["verdict_best"], unknown["difference"]) == (
        "worse",
        "reproduced",
        pytest.approx(2.0),
    )
    assert (best["verdict"], best["difference"]) == ("reproduced", pytest.approx(0.0))
    assert "13.00 ± 0.10 3 of 4 11.00 ± 0.10 11.00 ± 0.20 sd" in words
    assert (
        "selection unknown: the paper does not say which epoch it prints; our best epoch would "
        "give the verdict “reproduced”" in words
    )
    assert "the paper prints the best epoch on test: the difference is to our best epoch" in words


def test_failed_runs_and_small_differences_are_told(site: Any) -> None:
    s = site()
    write(s, DGL.replace("0.2,sd", "0.01,sd"))
    s.fill("dgl", 2, [11.10, 11.11, 11.12])
    s.run(s.cell("dgl", 2, 3), 90.0, status="diverged")
    words = s.words()
    assert "1 of 4 runs failed and are left out, which flatters ours" in words
    assert row_of(s)["verdict"] == "reproduced"
    assert "inside the tolerance, yet worse: the difference is not zero" in words


def test_without_a_match_the_page_says_so_in_a_line(site: Any) -> None:
    s = site()
    s.fill("dgl", 2, [11.0])
    line = "Beside published numbers : none in references.csv beside the recipes is of a cell"
    assert line in s.words()
    write(s, DGL.replace("fake", "mnist"))
    words = s.words()
    assert line in words and "mnist" not in words
    assert "Verdicts on published numbers" not in words
    assert not list((s.root / "out/tables").glob("published*"))
    assert re.search(r"How to read this", words)
