"""What is published of a planned sweep follows from its published runs."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
SWEEP = "cifar10-resnet14"


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, with a published folder of its own."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    module = importlib.import_module("planned")
    shutil.copytree(ROOT / "results/published" / SWEEP, tmp_path / "published" / SWEEP)
    monkeypatch.setattr(module, "PUBLISHED", tmp_path / "published")
    return module


def test_published_runs_give_the_published_page_and_tables(planned: Any, tmp_path: Path) -> None:
    page = planned.publish(SWEEP, tmp_path / "results")
    before = ROOT / "results/published" / SWEEP
    for name in ("README.md", "runs.json"):
        assert page.with_name(name).read_text() == (before / name).read_text(), name
    for name in ("analysis.csv", "headline_cifar10_resnet14.csv"):
        pd.testing.assert_frame_equal(
            pd.read_csv(page.with_name(name)), pd.read_csv(before / name), rtol=1e-9
        )


def test_runs_of_a_seed_that_is_not_whole_are_kept_and_do_not_count(
    planned: Any, tmp_path: Path
) -> None:
    file = tmp_path / "published" / SWEEP / "runs.json"
    runs = [run for run in json.loads(file.read_text()) if run["cell"]["seed"] == 0]
    begun = runs[0] | {"cell": runs[0]["cell"] | {"seed": 5}}
    file.write_text(json.dumps([*runs, begun]))
    page = planned.publish(SWEEP, tmp_path / "results").read_text()
    assert "Whole seeds: 0; 6 are planned. 12 runs on" in page and "has 1 of the next seed" in page
    assert begun in json.loads(file.read_text())
    file.write_text(json.dumps([begun]))
    with pytest.raises(ValueError, match="no seed of cifar10-resnet14 has all its cells done"):
        planned.publish(SWEEP, tmp_path / "others")
    assert json.loads(file.read_text()) == [begun]
