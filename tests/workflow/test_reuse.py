"""Modules that one grid trains and the next one reuses, through the workflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_workflow import REPO, TRAINING, snakemake, train_jobs

from modulewise.config.plan import load_plan
from modulewise.runs import result

FIRST: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["greedy"],
    "modules": [2],
    "seeds": 1,
    "training": TRAINING,
}
SECOND = FIRST | {
    "recipes": ["dgl"],
    "training": TRAINING | {"schedule": "sequential"},
    "reuse": {"recipe": "greedy", "modules": 1},
}


@pytest.mark.slow
def test_a_grid_reuses_what_another_has_trained(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"sweep": "s", "grids": [FIRST, SECOND]}))
    source, target = load_plan(path, REPO).cells
    runs = tmp_path / "results/runs"
    done = snakemake(tmp_path, "--configfile", str(path))
    assert done.returncode == 0, done.stderr
    assert (runs / source.path / "weights.pt").exists(), "kept though the sweep does not say so"
    made = result.load(runs / target.path / "result.json")
    assert made.origin.reused and made.origin.reused.cell == source.id
    assert made.epochs == TRAINING["epochs"], "the one phase that is left has all epochs"
    assert not (runs / target.path / "weights.pt").exists()
    assert train_jobs(snakemake(tmp_path, "--configfile", str(path), "-n").stdout) == 0
    (runs / source.path / "result.json").unlink()
    assert train_jobs(snakemake(tmp_path, "--configfile", str(path), "-n").stdout) == 2
    assert json.loads((runs / target.path / "result.json").read_text())["status"] == "done"
