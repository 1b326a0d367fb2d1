"""The images of a data set are replaced between two seeds."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from modulewise.cli.app import app
from modulewise.config.plan import load_plan
from modulewise.data.load import load
from modulewise.engine.trainer import Trainer
from modulewise.errors import InvalidInput
from modulewise.planning import choose
from modulewise.report import gallery
from modulewise.runs.result import Cost, Origin, Result

GRID = {
    "datasets": ["mine"],
    "networks": ["mlp2"],
    "recipes": ["backprop"],
    "modules": [1],
    "seeds": 3,
}
TUNE = {"trials": 2, "validation": 8, "seeds": [7], "training": {"lr": [0.1, 0.2, 0.3]}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with images of its own, and a sweep of three seeds."""
    (tmp_path / "config").mkdir()
    recipes = {
        "training": {"short": {"source": "made up", "set": {"epochs": 1, "batch_size": 16}}},
        "recipes": {
            "backprop": {
                "method": "backprop",
                "label": "Backprop",
                "modules": "one",
                "training": "short",
            }
        },
    }
    data = {"source": "npz", "path": "images.npz", "shape": [1, 8, 8], "classes": 2}
    (tmp_path / "config/recipes.yaml").write_text(json.dumps(recipes))
    (tmp_path / "config/datasets.yaml").write_text(json.dumps({"datasets": {"mine": data}}))
    (tmp_path / "sweep.yaml").write_text(json.dumps({"sweep": "s", "grids": [GRID]}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(folder: Path, seed: int) -> None:
    """Put other images in place."""
    random = np.random.default_rng(seed)
    parts = {"x_train": 32, "x_test": 16}
    arrays = {k: random.integers(0, 255, (n, 8, 8, 1), np.uint8) for k, n in parts.items()}
    labels = {k.replace("x", "y"): np.arange(n) % 2 for k, n in parts.items()}
    np.savez(folder / "images.npz", **arrays, **labels)


def run(*words: Any) -> str:
    """The output of a verb."""
    out = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert out.exit_code == 0, out.output
    return out.output


def train(folder: Path, seed: int) -> Result:
    (cell,) = [c for c in load_plan(folder / "sweep.yaml").cells if c.seed == seed]
    data = load(cell.data, folder, cell.training, seed)
    return Trainer(cell, data, folder / "results/runs" / cell.path, torch.device("cpu"), 60).fit()


def test_seeds_trained_before_and_after_are_not_averaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "figure", lambda *_, **__: iter(()))
    images(folder, 0)
    train(folder, 0)
    images(folder, 1)
    kept = [train(folder, seed) for seed in (1, 2)]
    run("report", "--sweep", "sweep.yaml")
    with (folder / "results/reports/s/tables/headline_mine_mlp2.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["n"], row["other_images"]) == ("2", "1")
    assert float(row["error_mean"]) == pytest.approx(sum(r.test_last or 0 for r in kept) / 2)
    screen = run("status", "--sweep", "sweep.yaml", "--all")
    assert "3 cells: 3 done, 1 of other images" in screen
    (named,) = [line for line in screen.splitlines() if "other images  mine" in line]
    assert "s0" in named and "; 2 runs of mine have " in named


def test_no_choice_is_made_among_trials_of_different_images(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(json.dumps({"sweep": "s", "grids": [GRID], "tune": TUNE}))
    plan = load_plan(folder / "sweep.yaml")
    for cell, digest in zip(plan.cells, ("old", "new"), strict=True):
        origin = Origin(
            device="cpu",
            exclusive=True,
            host="h",
            starts=1,
            commit=None,
            source="s",
            versions={},
            data=digest,
        )
        (folder / "runs" / cell.path).mkdir(parents=True)
        Result(
            cell=cell,
            status="done",
            epochs=1,
            planned_epochs=1,
            val_last=9.0,
            cuts=[],
            cost=Cost(),
            origin=origin,
        ).save(folder / "runs" / cell.path)
    with pytest.raises(InvalidInput, match="trials of mine were made from different images") as e:
        choose.judge(plan.trials, folder / "runs")
    assert "\n" not in str(e.value) and plan.cells[1].path in str(e.value)
