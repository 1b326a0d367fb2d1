"""The page of study `gradients`: what was found on every run, means and single numbers."""

from __future__ import annotations

from typing import Any

import pytest

from modulewise.runs.study import StudyResult


def measure(site: Any, recipe: str, seed: int, angles: list[float | None]) -> None:
    """Write a finished run, and angles at its end; before training they were 90 degrees."""
    cell = site.cell(recipe, 2, seed)
    site.run(cell, 20.0)
    (study,) = [s for s in site.plan.studies if s.cell == cell]
    found = {
        "module": [1, 2],
        "angle_start": [90.0, 90.0],
        "ratio_start": [2.0, 2.0],
        "angle_end": angles,
        "ratio_end": [None if angle is None else 0.25 for angle in angles],
    }
    path = site.runs / study.path
    path.parent.mkdir(parents=True, exist_ok=True)
    StudyResult(
        study="gradients",
        cell=cell.id,
        weights="0",
        found=found,
        seconds=1.0,
        device="a CPU",
        commit=None,
        source="0",
        versions={},
    ).save(path)


@pytest.fixture
def measured(site: Any) -> Any:
    """Two seeds of DGL, and one of Greedy whose first module has no gradient at the end."""
    made = site().studied(gradients={})
    measure(made, "dgl", 0, [50.0, 0.0])
    measure(made, "dgl", 1, [60.0, 0.0])
    measure(made, "greedy", 0, [None, 0.0])
    return made


def test_the_table_has_means_and_the_file_every_number(measured: Any) -> None:
    measured.report()
    rows = measured.table("gradients_fake_resnet8")
    assert sorted(rows["angle_end"].dropna()) == [0.0, 0.0, 0.0, 50.0, 60.0]
    assert rows["angle_end"].isna().sum() == 1
    page = (measured.root / "out/gradients.html").read_text()
    assert "55.0 ± 7.1" in page and "90.0 ± 0.0" in page and "0.250" in page


def test_the_figure_says_the_means_over_depth(measured: Any, drawn: None) -> None:
    measured.report()
    page = (measured.root / "out/gradients.html").read_text()
    assert "<title>DGL &amp; co_1, K = 2, module 1, after training: 55.0°</title>" in page
    assert "<title>Greedy, K = 2, module 2, before training: 90.0°</title>" in page
    assert "Greedy, K = 2, module 1, after training" not in page
