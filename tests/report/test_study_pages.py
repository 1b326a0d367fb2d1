"""Pages of studies: what they count, and that the report leads to them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from modulewise.config.cell import Cell
from modulewise.report import build
from modulewise.runs.provenance import study_hash
from modulewise.runs.study import StudyResult


@pytest.fixture
def studied(site: Any, sketched: None) -> Any:
    """The small sweep with the study `probe`."""
    return site().studied(probe={})


def measured(site: Any, cell: Cell, found: dict[str, Any], source: str = "") -> None:
    """Write what a study found on a run."""
    (study,) = [s for s in site.plan.studies if s.cell == cell]
    result = StudyResult(
        study="probe",
        cell=cell.id,
        weights="0",
        found=found,
        seconds=1.0,
        device="a CPU",
        commit=None,
        source=source or study_hash("probe", cell),
        versions={},
    )
    path = site.runs / study.path
    path.parent.mkdir(parents=True, exist_ok=True)
    result.save(path)


def made(site: Any) -> tuple[str, str]:
    """The report's page, and the study's."""
    page = build(site.plan, site.runs, site.root / "out")
    return page.read_text(), page.with_name("probe.html").read_text()


FOUND = {
    "stage": [1, 2, 3, 4],
    "linear_error": [70.0, 40.0, 21.5, 11.25],
    "reconstruction": [0.6, 0.61, 0.62, 0.65],
    "auxiliary_error": [10.0, 11.0, 12.0, 13.0],
    "auxiliary_loss": [0.3, 0.31, 0.32, 0.4],
    "rebuilt_best": 0.55,
    "rebuilt_blind": 0.69,
}


def test_the_report_leads_to_the_page_and_counts_what_is_measured(studied: Any) -> None:
    for seed in range(3):
        cell = studied.cell("dgl", 2, seed)
        studied.run(cell, 20.0)
        measured(studied, cell, FOUND)
    report, page = made(studied)
    assert re.search(r'<a href="probe.html">[^<]+</a> \(3 of 20 runs\)', report)
    assert "3 of 20 runs measured" in page and '<a href="report.html">' in page
    assert "stale" not in page and "<svg" in page


def test_a_run_that_diverged_and_one_not_measured_count_nowhere(studied: Any) -> None:
    done, diverged, other = (studied.cell("dgl", 2, seed) for seed in range(3))
    studied.run(done, 20.0)
    studied.run(other, 20.0)
    studied.run(diverged, None, "diverged", "loss is not finite")
    measured(studied, done, FOUND)
    measured(studied, diverged, {})
    _, page = made(studied)
    assert "1 of 20 runs measured" in page


def test_without_measurements_there_is_a_page_that_says_so(studied: Any) -> None:
    report, page = made(studied)
    assert "(0 of 20 runs)" in report and "Nothing has been measured yet" in page


def test_measurements_by_other_code_are_stale_and_count(studied: Any) -> None:
    cell = studied.cell("dgl", 2, 0)
    studied.run(cell, 20.0)
    measured(studied, cell, FOUND, source="other")
    _, page = made(studied)
    assert "1 stale" in page and "1 of 20 runs measured" in page


def test_a_damaged_measurement_is_none(studied: Any) -> None:
    cell = studied.cell("dgl", 2, 0)
    studied.run(cell, 20.0)
    (studied.runs / studied.plan.studies[0].path).parent.mkdir(parents=True, exist_ok=True)
    for study in studied.plan.studies:
        if study.cell == cell:
            (studied.runs / study.path).write_text("{")
    assert "(0 of 20 runs)" in made(studied)[0]


def test_a_page_goes_with_its_study(studied: Any) -> None:
    """A sweep that is no longer studied leaves neither page nor figures of it."""
    cell = studied.cell("dgl", 2, 0)
    studied.run(cell, 20.0)
    measured(studied, cell, FOUND)
    made(studied)
    out = studied.root / "out"
    assert list(out.glob("*/probe_*"))
    build(studied.studied().plan, studied.runs, out)
    assert not (out / "probe.html").exists() and not list(out.glob("*/probe_*"))
