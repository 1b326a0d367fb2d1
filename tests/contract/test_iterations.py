"""A budget in iterations: the run ends in the middle of a pass, with evaluations where it is asked
for, and a stopped one goes on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cases import ROWS, trainer_of
from modulewise.engine.trainer import Interrupted, Stop
from modulewise.optim import ModuleOptimizers
from modulewise.runs.result import Result

pytestmark = pytest.mark.usefixtures("uncounted")
ROW = next(row for row in ROWS if row.case.method == "greedy")
TRAINING: dict[str, Any] = {
    "iterations": 14,
    "evaluate_every": 7,
    "lr_schedule": "poly",
    "lr_update": "step",
    "warmup_epochs": 0,
    "lr": 0.05,
    "precision": "bf16",
    "channels_last": True,
    "accumulate": 2,
}
"""Passes have five whole batches."""


class Steps:
    """Rates that the optimisers' steps were made with; after so many steps it asks to stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int = 0) -> None:
        self.rates: list[float] = []
        self.stop, inner = Stop(), ModuleOptimizers.step

        def step(optimizers: ModuleOptimizers, k: int | None = None) -> None:
            if k in (0, None):
                self.rates.append(optimizers.inner[0].param_groups[0]["lr"])
                self.stop.asked = len(self.rates) == last
            inner(optimizers, k)

        monkeypatch.setattr(ModuleOptimizers, "step", step)


def test_every_step_has_its_rate_and_a_stopped_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        steps = Steps(patch)
        whole = trainer_of(ROW.cell(**TRAINING), tmp_path / "whole")
        result = whole.fit()
    poly = [(0.05 - 1e-4) * (1 - i / 14) ** 0.9 + 1e-4 for i in range(14)]
    assert steps.rates == pytest.approx(poly)
    assert isinstance(result, Result)
    assert (result.epochs, result.planned_epochs) == (2, 2)
    with monkeypatch.context() as patch:
        cut = Steps(patch, last=9)
        with pytest.raises(Interrupted):
            trainer_of(ROW.cell(**TRAINING), tmp_path / "cut", stop=cut.stop).fit()
        second = trainer_of(ROW.cell(**TRAINING), tmp_path / "cut")
        second.fit()
    assert cut.rates == steps.rates
    for a, b in zip(whole.method.parameters(), second.method.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_budget_in_iterations_equals_one_in_epochs_of_whole_batches(tmp_path: Path) -> None:
    """Batches of 7 of 42 images: two epochs are twelve iterations."""
    settings: dict[str, Any] = {"batch_size": 7, "lr": 0.05, "warmup_epochs": 0}
    epochs = trainer_of(ROW.cell(epochs=2, **settings), tmp_path / "epochs")
    budget = {"iterations": 12, "evaluate_every": 6}
    iterations = trainer_of(ROW.cell(**budget, **settings), tmp_path / "iterations")
    a, b = epochs.fit(), iterations.fit()
    assert (a.test_last, a.cost.train_flops) == (b.test_last, b.cost.train_flops)
    for x, y in zip(epochs.method.parameters(), iterations.method.parameters(), strict=True):
        assert torch.equal(x, y)
