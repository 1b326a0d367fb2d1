"""Metrics beside the primary one: in the tables of runs, the headline, exhibits, and judged beside
published numbers by their own direction."""

from __future__ import annotations

from typing import Any

import pytest

from modulewise.runs.result import PrimaryMetric, Secondary

TOP5 = PrimaryMetric(name="top5_error", label="test top-5 error")
MIOU = PrimaryMetric(name="ms-miou", label="test MS mIoU", direction="higher")
GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["backprop", "dgl"],
    "modules": [2],
    "seeds": 3,
}
EXHIBIT = {
    "title": "Table 4",
    "sources": ["a paper"],
    "rows": ["recipe", "modules"],
    "metrics": ["test_error", "test_top5_error", "memory_gb"],
}
HEADER = (
    "dataset,network,recipe,modules,metric,value,spread,spread_kind,n,selection,epochs,split,"
    "tolerance,source,note"
)
ROWS = [
    "fake,resnet8,dgl,2,test_error,22,0.2,sd,5,last,3,test,0.5,a paper,",
    "fake,resnet8,dgl,2,test_top5_error,6,0.2,sd,5,last,3,test,0.5,a paper,",
    "fake,resnet8,dgl,2,test_ms-miou,70,0.2,sd,5,last,3,test,0.5,a paper,",
    "fake,resnet8,backprop,1,test_top5_error,5,0.2,sd,5,last,3,test,0.5,a paper,",
]


def filled(site: Any, **sweep: Any) -> Any:
    """DGL is as published in top-1, better in top-5, better in mIoU, which is higher."""
    s = site({"sweep": "x", "grids": [GRID], **sweep})
    (s.root / "config/references.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    for recipe, modules, reached in (("backprop", 1, 5.9), ("dgl", 2, 4.0)):
        for seed in range(3):
            top5 = Secondary(metric=TOP5, last=reached + seed / 100, best=reached - 1 + seed / 100)
            miou = Secondary(metric=MIOU, last=80 + seed / 100, best=81.0)
            s.run(s.cell(recipe, modules, seed), 22 + seed / 100, secondary=(top5, miou))
    return s


def test_tables_have_a_column_of_each(site: Any) -> None:
    s = filled(site)
    words = s.words().replace("\u00a0", " ")
    head = "Recipe K Test error, % Test top-5 error, % Test MS mIoU, % n Gap to Backprop, points"
    assert head in words
    assert "22.01 ± 0.01 4.01 ± 0.01 80.01 ± 0.01 3" in words
    runs = s.table("runs").query("recipe == 'dgl'")
    assert list(runs["test_top5_error"]) == pytest.approx([4.0, 4.01, 4.02])
    assert list(runs["test_top5_error_best"]) == pytest.approx([3.0, 3.01, 3.02])
    row = s.row("dgl", 2)
    assert row["test_top5_error_mean"] == pytest.approx(4.01)
    assert row["test_top5_error_std"] == pytest.approx(0.01)
    assert "test_top5_error" in (s.root / "out/tables/headline_fake_resnet8.csv").read_text()


def test_each_is_judged_by_its_own_direction(site: Any) -> None:
    s = filled(site)
    words = s.words()
    assert "Beside published numbers: test error" in words
    assert "Beside published numbers: test top-5 error" in words
    found = {
        (name, row["recipe"]): row
        for name in ("", "_top5_error", "_ms-miou")
        for row in s.table(f"published_fake_resnet8{name}").to_dict("records")
    }
    verdicts = {key: row["verdict"] for key, row in found.items()}
    assert verdicts == {
        ("", "dgl"): "reproduced",
        ("_top5_error", "backprop"): "worse",
        ("_top5_error", "dgl"): "better",
        ("_ms-miou", "dgl"): "better",
    }
    top5 = found["_top5_error", "dgl"]
    assert top5["top5_error_mean"] == pytest.approx(4.01)
    assert top5["difference"] == pytest.approx(-1.99)
    assert top5["p_holm"] == pytest.approx(2 * top5["p"]), "a family of two"
    assert found["", "dgl"]["p_holm"] == pytest.approx(found["", "dgl"]["p"])


def test_an_exhibit_lists_both(site: Any) -> None:
    s = filled(site, exhibit=EXHIBIT)
    words = s.words().replace("\u00a0", " ")
    assert "Test error, % Test top-5 error, % Memory, GB" in words
    rows = {(r["recipe"], r["metric"]): r for r in s.table("exhibit").to_dict("records")}
    mine = rows["dgl", "test_top5_error"]
    assert mine["value"] == pytest.approx(4.01)
    assert mine["best_value"] == pytest.approx(3.01)
    assert (mine["published_value"], mine["verdict"]) == (6.0, "better")
    assert rows["dgl", "test_error"]["verdict"] == "reproduced"
    assert rows["dgl", "test_error"]["value"] == pytest.approx(22.01)


def test_results_without_it_leave_no_column(site: Any) -> None:
    """Results of earlier versions beside those that have it are not refused."""
    s = site({"sweep": "x", "grids": [GRID], "exhibit": EXHIBIT | {"metrics": ["test_error"]}})
    s.fill("backprop", 1, [22.0, 22.1, 22.2])
    assert "top-5" not in s.words()
    s.run(s.cell("dgl", 2, 0), 21.0, secondary=(Secondary(metric=TOP5, last=4.0, best=3.0),))
    words = s.words().replace("\u00a0", " ")
    assert "22.10 ± 0.10 – 3" in words
    assert "21.00 4.00 1 of 3" in words
