"""`lr_update: step`: every step has a rate of its own, and a resumed run goes on with it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cases import ROWS, trainer_of
from modulewise.engine.trainer import Interrupted, Stop
from modulewise.optim import ModuleOptimizers

pytestmark = pytest.mark.usefixtures("uncounted")
ROW = next(row for row in ROWS if row.case.method == "greedy")
TRAINING: dict[str, Any] = {"lr_update": "step", "warmup_epochs": 0, "epochs": 2, "lr": 0.05}


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Rates that the optimisers' steps were made with."""
    found: list[float] = []
    inner = ModuleOptimizers.step

    def step(self: ModuleOptimizers, k: int | None = None) -> None:
        if k in (0, None):
            found.append(self.inner[0].param_groups[0]["lr"])
        inner(self, k)

    monkeypatch.setattr(ModuleOptimizers, "step", step)
    return found


def test_every_step_has_its_rate(tmp_path: Path, rates: list[float]) -> None:
    trainer_of(ROW.cell(**TRAINING), tmp_path).fit()
    assert rates == pytest.approx([0.025 * (1 + math.cos(math.pi * n / 12)) for n in range(12)])


def test_a_resumed_run_goes_on_with_it(tmp_path: Path) -> None:
    whole = trainer_of(ROW.cell(**TRAINING), tmp_path / "whole")
    whole.fit()
    first = trainer_of(ROW.cell(**TRAINING), tmp_path / "cut", stop=Stop(asked=True))
    with pytest.raises(Interrupted):
        first.fit()
    second = trainer_of(ROW.cell(**TRAINING), tmp_path / "cut")
    second.fit()
    for a, b in zip(whole.method.parameters(), second.method.parameters(), strict=True):
        assert torch.equal(a, b)
