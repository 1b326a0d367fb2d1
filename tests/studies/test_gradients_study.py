"""Study `gradients` and `modulewise probe --gradients`: before and after training they find what
the run itself recorded then."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import forked
from cases import Case, Row, finished, trainer_of
from modulewise import studies
from modulewise.config.study import StudyOrder
from modulewise.runs import record
from modulewise.runs import study as study_files

CPU = torch.device("cpu")
ROW = Row(Case("dgl", {"feature_dim": 8}), "mlp3x16")
KINDS = {"angle": "gradient_angle", "ratio": "gradient_norm_ratio"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three modules and three epochs that recorded its angles."""
    folder = tmp_path_factory.mktemp("run")
    return finished(ROW, folder, epochs=3, gradient_angles=True)


def found(folder: Path) -> dict[str, Any]:
    return studies.make(StudyOrder(study="gradients"), folder, folder, CPU).found


def recorded(folder: Path, name: str, epoch: int) -> list[float]:
    settled = record.read(folder).settled()
    return [settled[f"{name}/module_{k}", epoch][0] for k in range(3)]


def test_the_ends_are_what_the_run_recorded(run: Path) -> None:
    made = found(run)
    assert made["module"] == [1, 2, 3]
    for kind, name in KINDS.items():
        for when, epoch in (("start", 0), ("end", 3)):
            assert made[f"{kind}_{when}"] == recorded(run, name, epoch)
    assert made["angle_start"] != made["angle_end"]


def test_learnt_feedback_is_among_the_weights_that_are_measured(tmp_path: Path) -> None:
    """Heads that are put back to their start give another angle at the end."""
    row = Row(Case("greedy"), "mlp3x16")
    trainer = trainer_of(row.cell(), tmp_path / "run", keep_weights=True)
    start = {name: value.clone() for name, value in trainer.method.heads.state_dict().items()}
    trainer.fit()
    trained = studies.load(tmp_path / "run", tmp_path, CPU)
    whole = studies.build("gradients", {})(trained)
    trained.method.heads.load_state_dict(start)
    without = studies.build("gradients", {})(trained)
    assert without["angle_start"] == whole["angle_start"]
    assert without["angle_end"][0] != whole["angle_end"][0]


def test_probe_prints_a_row_a_module_and_the_epochs_between(run: Path) -> None:
    said = forked.run("probe", "--gradients", str(run), "--threads", f"{torch.get_num_threads()}")
    assert said.returncode == 0, said.stderr
    written = study_files.read(run / "study~gradients.json")
    assert written and written.found == found(run)
    head, *lines = said.stdout.splitlines()
    assert re.split(r"\s{2,}", head.strip()) == ["module", "start", "epoch 1", "epoch 2", "end"]
    for k in range(3):
        angles, ratios = (lines[2 * k + i].split() for i in range(2))
        assert angles[0] == f"{k + 1}"
        assert angles[1:] == [f"{recorded(run, KINDS['angle'], e)[k]:.1f}°" for e in range(4)]
        assert ratios == [f"{recorded(run, KINDS['ratio'], e)[k]:.3g}×" for e in range(4)]
    assert said.stdout.splitlines()[-1] == str(run / "study~gradients.json")
    assert max(map(len, said.stdout.replace(str(run), "").splitlines())) <= 80


def test_without_recorded_epochs_there_are_the_ends(tmp_path: Path) -> None:
    finished(ROW, tmp_path)
    said = forked.run("probe", "--gradients", str(tmp_path))
    assert said.stdout.splitlines()[0].split() == ["module", "start", "end"]


def test_its_options_are_none(run: Path) -> None:
    said = forked.run("probe", "--gradients", str(run), "--options", '{"epochs": 1}')
    assert said.returncode == 2
    assert said.stderr.endswith("unknown key 'epochs'; valid: none\n")
