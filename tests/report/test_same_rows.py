"""Rows that show one training: the same numbers, a note, and counted once."""

from __future__ import annotations

from typing import Any

import pytest

GRID = {"datasets": ["fake"], "networks": ["resnet8"], "modules": [2, 4], "seeds": 3}
SWEEP = {"sweep": "twins", "grids": [GRID | {"recipes": ["backprop", "dgl", "twin"]}]}


def filled(site: Any, **more: Any) -> Any:
    s = site(SWEEP | more)
    s.fill("backprop", 1, [10.0, 11.0, 12.0])
    s.fill("dgl", 2, [12.0, 13.5, 14.0], peak_memory_bytes=700)
    s.fill("dgl", 4, [15.0, 16.0, 17.5])
    s.fill("twin", 4, [16.0, 17.0, 18.0])
    return s


def test_both_rows_show_the_run(site: Any, sketched: None) -> None:
    s = filled(site)
    assert len(s.cells) == 3 * (1 + 2 + 1)
    words = s.words()
    assert "12 of 12 cells done" in words
    own, twin = s.row("dgl", 2), s.row("twin", 2)
    differ = [n for n in own.index if own[n] != twin[n] and own[n] == own[n]]
    assert differ == ["recipe", "label"]
    assert twin["same_as"] == "DGL & co_1" and twin["memory_ratio"] == pytest.approx(0.7)
    said = "DGL & co_1 and Twin are the very same training at K = 2: it was made once, as DGL"
    assert words.count(said) == 1
    assert "DGL & co_1 2 a " in words and "Twin 2 a " in words
    runs = s.table("runs")
    assert len(runs) == 15 and (runs["same_as"].notna()).sum() == 3
    assert runs["path"].nunique() == 12


def test_a_contrast_takes_the_run(site: Any) -> None:
    terms = [{"recipe": "twin", "modules": 2}, {"recipe": "backprop"}]
    contrast = {"name": "worse", "hypothesis": "h", "difference": terms}
    s = filled(site, analysis={"n": 3, "primary": [contrast]})
    s.report()
    (row,) = s.table("analysis").to_dict("records")
    assert (row["n"], row["mean"]) == (3, pytest.approx((2 + 2.5 + 2) / 3))


def test_a_published_number_of_the_row_is_beside_it(site: Any) -> None:
    s = filled(site)
    header = (
        "dataset,network,recipe,modules,metric,value,spread,spread_kind,n,selection,epochs,split,"
        "tolerance,source,note"
    )
    line = "fake,resnet8,twin,2,test_error,13,0.5,sd,5,last,3,test,0.5,a paper,"
    (s.root / "config/references.csv").write_text(f"{header}\n{line}\n")
    s.report()
    (row,) = s.table("published_fake_resnet8").to_dict("records")
    assert (row["recipe"], row["n"]) == ("twin", 3)
    assert row["error_mean"] == pytest.approx(39.5 / 3)


def test_a_missing_run_is_left_out_once(site: Any) -> None:
    s = site(SWEEP)
    s.fill("backprop", 1, [10.0, 11.0, 12.0])
    s.fill("dgl", 2, [12.0, 13.0])
    words = s.words()
    assert "5 of 12 cells done · 7 waiting" in words
    left = s.table("unfinished")
    assert left[left["K"] == 2][["Recipe", "Seeds"]].values.tolist() == [["DGL & co_1", "2"]]
