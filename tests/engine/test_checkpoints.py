"""What a checkpoint holds, and what it is not resumed with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cases import Case, Row, data_of, heard, trainer_of
from modulewise.engine import device
from modulewise.engine.trainer import Interrupted, Stop, Trainer
from modulewise.errors import InvalidInput
from modulewise.runs import record

ROW, CPU = Row(Case("greedy"), "resnet8"), torch.device("cpu")


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that was stopped in the middle of its second epoch."""
    stop = Stop()

    def after_one_epoch(line: str) -> None:
        stop.asked = True

    with pytest.raises(Interrupted), heard(after_one_epoch):
        trainer_of(ROW.cell(), tmp_path, stop=stop).fit()
    return tmp_path


def test_a_save_within_an_epoch_commits_the_epochs_before_it(stopped: Path) -> None:
    folded = record.read(stopped)
    assert folded.committed == 1
    assert {epoch for _, epoch in folded.settled()} == {1}


def test_other_images_are_refused(stopped: Path) -> None:
    others = data_of(ROW.cell())
    others.digest = "other"
    with pytest.raises(InvalidInput, match="the images have changed since the run began"):
        Trainer(ROW.cell(), others, stopped, CPU).fit()
    assert (stopped / "checkpoint.pt").exists()


def test_costs_of_two_devices_do_not_add_up(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = device.describe(CPU)
    monkeypatch.setattr(device, "describe", lambda _: "another machine")
    result = trainer_of(ROW.cell(), stopped).fit()
    assert result.status == "done" and not result.origin.exclusive
    assert result.origin.device == f"{first}, then another machine"
    assert result.cost.peak_memory_bytes is None
