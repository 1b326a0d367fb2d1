"""`modulewise check` tells a budget that cannot be kept, before any job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from modulewise.cli.check import check
from modulewise.config.plan import load_plan
from modulewise.config.sweep import Grid
from modulewise.engine.build import build
from modulewise.errors import InvalidInput
from modulewise.planning.preflight import Preflight
from modulewise.tasks.classification import Classification

ROOT = Path(__file__).parents[2]


def sweep(folder: Path, budget: str, **training: Any) -> Path:
    grid = {
        "datasets": ["fake"],
        "networks": ["resnet8"],
        "recipes": ["backprop", "greedy"],
        "modules": [2, 3],
        "seeds": 2,
        "partition": {"budget": budget},
        "training": {"epochs": 1, "batch_size": 16, **training},
    }
    assert Grid.model_validate(grid)
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump({"sweep": "s", "grids": [grid]}))
    return path


def test_a_budget_too_small_is_told_with_one_that_is_not(tmp_path: Path) -> None:
    where = {"root": ROOT, "data": tmp_path, "runs": tmp_path, "profile": tmp_path}
    with pytest.raises(InvalidInput) as caught:
        check(sweep(tmp_path, "1MiB"), **where)  # type: ignore[arg-type]
    said = str(caught.value)
    assert "s.yaml: fake resnet8 greedy K=2 s0: partition: K = 2 needs more than 1 MiB" in said
    least = said.rpartition("the least possible budget is ")[2]
    check(sweep(tmp_path, least), **where)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"K=2 s0: partition: .* needs more"):
        check(sweep(tmp_path, least, batch_size=128), **where)  # type: ignore[arg-type]


def test_it_builds_what_the_trainer_builds(tmp_path: Path) -> None:
    plan = load_plan(sweep(tmp_path, "6MiB"), ROOT)
    built = Preflight(plan, tmp_path)
    cell = next(c for c in plan.cells if c.modules == 3)
    method, _ = build(cell, cell.data.shape or (), Classification(10))
    assert [len(m) for m in built._build(cell).trunk] == [len(m) for m in method.trunk]
