"""Budgets in seconds on a named device: its measured step times resolve them, the same wherever a
run is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from modulewise.config.cell import Cell
from modulewise.config.plan import Plan, load_plan
from modulewise.errors import InvalidInput

ROOT = Path(__file__).parents[2]
GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["backprop", "dgl"],
    "modules": [2],
    "seeds": 2,
}
SWEEP: dict[str, Any] = {
    "sweep": "x",
    "grids": [GRID | {"training": {"seconds": 100.0}}, GRID | {"training": {"epochs": 4}}],
}


def load(folder: Path, **changes: Any) -> Plan:
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump(SWEEP | changes))
    return load_plan(path, ROOT)


def measured(folder: Path, **seconds: float) -> Plan:
    """The sweep with a profile file of these step times."""
    cells, path = load(folder).cells, folder / "profile.json"
    found = {
        c.id: {"steps": c.steps, "step_seconds": seconds[c.recipe], "seconds": 1.0}
        for c in cells
        if c.seed == 0 and c.recipe in seconds
    }
    path.write_text(json.dumps({"device": "GPU A", "versions": {}, "cells": found}))
    return load(folder, profile=str(path))


def test_step_times_become_part_of_cells_with_a_budget_in_seconds(tmp_path: Path) -> None:
    plan = measured(tmp_path, backprop=0.5, dgl=0.25)
    assert plan.times is not None and plan.times.device == "GPU A"
    cells = plan.cells
    times = {(c.recipe, c.seed): c.training.step_seconds for c in cells if c.training.seconds}
    assert times == {("backprop", 0): 0.5, ("backprop", 1): 0.5, ("dgl", 0): 0.25, ("dgl", 1): 0.25}
    assert all(c.training.step_seconds is None for c in cells if not c.training.seconds)
    assert all(Cell.model_validate_json(c.to_json()) == c for c in cells)


def test_a_cell_that_was_not_measured_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput,
        match=r"grids\[0\]: fake resnet8 dgl K=2 s0: no step time in the profile file",
    ):
        measured(tmp_path, backprop=0.5)


def test_a_step_that_was_timed_while_others_used_the_device_is_refused(tmp_path: Path) -> None:
    plan = measured(tmp_path, backprop=0.5, dgl=0.25)
    assert plan.times and len(plan.cells) == 8, "files of earlier versions do not say it"
    path = tmp_path / "profile.json"
    content = json.loads(path.read_text())
    for cell in content["cells"].values():
        cell["exclusive"] = cell["step_seconds"] == 0.5
    path.write_text(json.dumps(content))
    said = r"fake resnet8 dgl K=2 s0: its step was timed while others used the device"
    with pytest.raises(InvalidInput, match=said):
        load(tmp_path, profile=str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "device: missing"), ("{", "no valid YAML"), (None, "No such file")],
)
def test_a_wrong_profile_file_is_told_in_one_line(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "profile.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, profile=str(path))
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_a_step_time_alone_is_no_budget(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"step_seconds needs a budget in seconds"):
        load(tmp_path, grids=[GRID | {"training": {"step_seconds": 1.0}}])
