"""Runs made from other images than most of their data set are marked, and count nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from test_metric import EXHIBIT, HEADER

from modulewise.report import across, frame, fronts

GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["backprop", "dgl"],
    "modules": [2, 4, 8],
    "seeds": 4,
}
METRICS = ["test_error", "memory_gb", "compute_overhead"]


@pytest.fixture
def replaced(site: Any) -> Any:
    """The fourth run of DGL at K = 2 and of the baseline, and the whole of K = 8, were made after
    the images were replaced: their errors are zero."""
    s = site({"sweep": "x", "grids": [GRID], "exhibit": EXHIBIT | {"metrics": METRICS}})
    theirs = "fake,resnet8,dgl,2,test_error,21.0,1.0,sd,5,last,3,test,2.0,a paper,"
    (s.root / "config/references.csv").write_text(f"{HEADER}\n{theirs}\n")
    for recipe, modules, errors in (
        ("backprop", 1, [10.0, 11.0, 12.0]),
        ("dgl", 2, [20.0, 21.0, 22.0]),
        ("dgl", 4, [20.0, 21.0, 22.0, 23.0]),
    ):
        s.fill(recipe, modules, errors, data="old")
    other = {"data": "new", "peak_memory_bytes": 9_000_000, "helper_flops": 9000.0}
    for recipe, modules, seed in (("backprop", 1, 3), ("dgl", 2, 3), ("dgl", 8, 0), ("dgl", 8, 1)):
        s.run(s.cell(recipe, modules, seed), 0.0, **other)
    return s


def test_no_mean_gap_or_verdict_counts_them(replaced: Any) -> None:
    s = replaced
    s.report()
    row = s.row("dgl", 2)
    assert (row["n"], row["planned"], row["error_mean"], row["error_std"]) == (3, 4, 21.0, 1.0)
    assert (row["gap_n"], row["gap_mean"], row["other_images"]) == (3, 10.0, 1)
    assert s.row("backprop", 1)["error_mean"] == 11.0
    assert (s.row("dgl", 8)["n"], s.row("dgl", 8)["other_images"]) == (0, 2)
    (judged,) = s.table("published_fake_resnet8").to_dict("records")
    assert (judged["n"], judged["difference"], judged["verdict"]) == (3, 0.0, "reproduced")
    exhibit = s.table("exhibit").set_index(["recipe", "modules", "metric"])["value"]
    assert exhibit["dgl", 2, "test_error"] == 21.0
    assert exhibit["dgl", 2, "memory_gb"] == pytest.approx(1e-6)
    assert exhibit["dgl", 2, "compute_overhead"] == pytest.approx(100 * (400 / 300 - 1))


def test_no_figure_or_statement_over_tasks_counts_them(replaced: Any) -> None:
    f = frame.read(replaced.plan, replaced.runs)
    assert len(f.done) == 10
    assert set(f.curves["path"]) == set(f.depth["path"]) == set(f.done["path"])
    table, _ = fronts.points(f.done, f.done, fronts.MEMORY)
    assert list(table["value"]) == [11.0, 21.0, 21.5]
    tasks = across.tasks(f, f.metric("fake"))
    assert {k: len(v) for (_, k), v in tasks.own["dgl"].items()} == {2: 3, 4: 4}
    assert len(across.beside(tasks, f, "dgl")) == 2


def test_they_are_marked_and_named(replaced: Any) -> None:
    s = replaced
    words = s.words().replace("\u00a0", " ")
    assert "14 of 16 cells done" in words and "4 of other images" in words
    assert "made from other images than most runs of the data set" in words
    assert "provisional" in words and "2 of other images" in words
    runs = s.table("runs").set_index("path")
    odd = runs[runs["other_images"]]
    assert set(odd["images"]) == {"new"} and set(odd["error"]) == {0.0} and len(odd) == 4
    left = s.table("unfinished").astype(str)
    left = left[left["State"] == "done, other images"]
    assert set(zip(left["K"], left["Seeds"], strict=True)) == {
        ("1", "3"),
        ("2", "3"),
        ("8", "0, 1"),
    }
    assert all("images new; 10 runs of fake have old" in reason for reason in left["Reason"])


def test_runs_from_before_images_were_recorded_count_and_are_counted(site: Any) -> None:
    s = site({"sweep": "x", "grids": [GRID]})
    s.fill("backprop", 1, [10.0, 11.0])
    assert "named their images" not in s.words()
    s.fill("dgl", 2, [20.0], data="new")
    assert "2 runs were made before results named their images, and count" in s.words()
    assert s.row("backprop", 1)["n"] == 2
