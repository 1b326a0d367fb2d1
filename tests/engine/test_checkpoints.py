"""What a checkpoint holds, and what it is not resumed with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda method, name: method.pop(name), r"is \(.*\) here and missing there"),
        (lambda method, name: method.update(other=method[name]), r"other is missing here and \("),
        (lambda method, name: method.update({name: torch.zeros(2, 7)}), r" there; remove it"),
    ],
    ids=["a part more", "a part less", "another shape"],
)
def test_weights_of_other_code_are_one_line(change: Any, told: str, stopped: Path) -> None:
    path = stopped / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    change(content["method"], next(iter(content["method"])))
    torch.save(content, path)
    with pytest.raises(InvalidInput, match=f"^{path}: its weights do not fit the code.*{told}"):
        trainer_of(ROW.cell(), stopped).fit()
    assert path.exists()


def test_costs_of_two_devices_do_not_add_up(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = device.describe(CPU)
    monkeypatch.setattr(device, "describe", lambda _: "another machine")
    result = trainer_of(ROW.cell(), stopped).fit()
    assert result.status == "done" and not result.origin.exclusive
    assert result.origin.device == f"{first}, then another machine"
    assert result.cost.peak_memory_bytes is None
