"""What every study must give, on networks of every kind and on methods whose state is more than one
tensor: JSON, the same twice, and the weights as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cases import CASES, IMAGES, STUDIES, Case, Row, finished, same, snapshot
from modulewise import studies
from modulewise.config.options import names
from modulewise.config.study import StudyOrder
from modulewise.report import study as report

CPU = torch.device("cpu")
ROWS = [
    Row(CASES[0], "resnet8"),
    Row(Case("greedy"), "mlp3x32"),
    Row(Case("greedy"), "vgg8b-w4"),
    Row(Case("contsup", {"context": "R1E", "mode": "softmax", "feature_dim": 16}), "resnet8"),
]


@pytest.fixture(scope="module", params=ROWS, ids=lambda row: f"{row.case.method}@{row.network}")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run."""
    return finished(request.param, tmp_path_factory.mktemp("run"))


def order(study: str) -> StudyOrder:
    options = STUDIES[study]
    entries = dict.fromkeys(options.get("targets", ()), IMAGES)
    return StudyOrder(study=study, options=options, datasets=entries)


def timeless(found: Any) -> Any:
    """What was found but for its `seconds`, at any depth."""
    if isinstance(found, dict):
        return {key: timeless(value) for key, value in found.items() if key != "seconds"}
    return [timeless(value) for value in found] if isinstance(found, list) else found


def test_every_study_has_a_row_and_a_page() -> None:
    assert set(names("studies")) == set(STUDIES), "add a row to STUDIES in tests/cases.py"
    pages = Path(report.__file__).with_name("studies").glob("[a-z]*.py")
    assert {p.stem for p in pages} == set(STUDIES)


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_finds_the_same_twice_and_leaves_the_run_alone(study: str, run: Path) -> None:
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    torch.manual_seed(5)
    first, state = studies.make(order(study), run, run, CPU), torch.get_rng_state()
    torch.manual_seed(6)
    again = studies.make(order(study), run, run, CPU)
    assert first.found and timeless(first.found) == timeless(again.found)
    assert json.loads(json.dumps(first.found, allow_nan=False)) == first.found
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state), "random numbers are the study's own"
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_moves_no_weight_and_no_statistic(study: str, run: Path) -> None:
    given = order(study)
    trained = studies.load(run, run, CPU, given.datasets)
    before = snapshot(trained.method)
    studies.build(study, given.options)(trained)
    assert same(before, snapshot(trained.method))
    assert not trained.method.training
