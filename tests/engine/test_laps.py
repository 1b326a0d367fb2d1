"""Seconds of the modules' steps under the joint schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cases import BACKPROP, Case, Row, trainer_of
from modulewise.runs.result import Result
from modulewise.schedules import _laps as laps
from modulewise.schedules._laps import BEFORE, MEASURED, Laps

DGL = Row(Case("dgl", {"feature_dim": 8}), "mlp3x16")


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock says next."""
    said: list[float] = []
    monkeypatch.setattr(laps, "clock", lambda device: said.pop(0))
    return said


def test_a_few_steps_are_measured_after_the_first_ones(ticks: list[float]) -> None:
    made, cpu = Laps(2), torch.device("cpu")
    for n in range(BEFORE + MEASURED + 5):
        if BEFORE <= n < BEFORE + MEASURED:
            ticks += [n, n + 0.25, n + 0.75]
        made.start(cpu)
        made.lap(0)
        made.lap(1)
        assert not ticks
    assert made.means() == [0.25, 0.5]
    other = Laps(2)
    other.load_state_dict(made.state_dict())
    assert other.means() == [0.25, 0.5]


def test_a_run_of_few_steps_has_none() -> None:
    made = Laps(3)
    for _ in range(BEFORE):
        made.start(torch.device("cpu"))
    assert made.means() is None
    made.load_state_dict({})
    assert made.means() is None


def run(row: Row, folder: Path, **training: Any) -> Result:
    return trainer_of(row.cell(**training), folder).fit()


def test_modules_that_step_one_by_one_are_measured(tmp_path: Path) -> None:
    seconds = run(DGL, tmp_path, epochs=3).cost.module_seconds
    assert seconds and len(seconds) == 3 and min(seconds) > 0


@pytest.mark.parametrize(
    ("row", "training"),
    [
        (BACKPROP, {}),
        (DGL, {"accumulate": 2}),
        (Row(Case("dni"), "mlp3x16"), {}),
    ],
    ids=["one module", "micro-batches", "feedback"],
)
def test_others_are_not(row: Row, training: dict[str, Any], tmp_path: Path) -> None:
    assert run(row, tmp_path, **{"epochs": 2} | training).cost.module_seconds is None
