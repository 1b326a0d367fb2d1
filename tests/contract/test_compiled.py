"""Compiled modules and recorded steps give the numbers of plain ones, and step aside where they
cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from cases import BACKPROP, Case, Row, data_of, heard, rows, same, trainer_of
from modulewise.config.training import TrainConfig
from modulewise.engine.trainer import Trainer
from modulewise.errors import InvalidInput, parse

pytestmark = pytest.mark.usefixtures("uncounted")


def run(row: Row, folder: Path, **training: Any) -> tuple[Trainer, list[str]]:
    """A finished run, and the lines that it logged of these settings."""
    lines: list[str] = []
    trainer = trainer_of(row.cell(epochs=1, **training), folder)
    with heard(lines.append):
        trainer.fit()
    return trainer, [line for line in lines if "compile" in line or "graph" in line]


def check_compiled(row: Row, folder: Path) -> None:
    """Compiled, a run has the names, the weights and the losses of the plain run, but for
    rounding. The last batch has four images: BatchNorm of two numbers gives little but their signs,
    and rounding decides."""
    torch._dynamo.reset()
    plain, _ = run(row, folder / "plain", train_images=36)
    torch._dynamo.reset()  # rows with the same modules would share graphs
    before = counters["stats"]["unique_graphs"]
    mine, lines = run(row, folder / "compiled", compile="aot_eager", train_images=36)
    assert lines == []
    assert counters["stats"]["unique_graphs"] > before
    ours, theirs = mine.method.state_dict(), plain.method.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4, msg=name)
    for name, figure in plain.progress.history[0].items():
        if name.startswith("train_loss/"):
            assert mine.progress.history[0][name] == pytest.approx(figure, rel=1e-3)


def test_compiled_modules_compute_the_same(tmp_path: Path) -> None:
    case = Case("infopro", {"mode": "contrast", "feature_dim": 16})
    check_compiled(Row(case, "mlp3x32"), tmp_path)


@pytest.mark.slow
@rows()
def test_compiled_modules_of_every_row_compute_the_same(row: Row, tmp_path: Path) -> None:
    check_compiled(row, tmp_path)


def test_what_cannot_be_compiled_runs_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, statistics and random numbers are those of a run that never tried."""

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler\nand much else")

    row = Row(Case("dgl", {"feature_dim": 16}), "vgg8b-w4")
    plain, _ = run(row, tmp_path / "plain")
    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    mine, lines = run(row, tmp_path / "mine", compile="inductor")
    assert lines == [f"{mine.cell}: compile: not compiled, inductor failed: no compiler"]
    assert same(mine.method.state_dict(), plain.method.state_dict())


def test_without_a_gpu_steps_run_as_they_are(tmp_path: Path) -> None:
    plain, _ = run(BACKPROP, tmp_path / "plain")
    mine, lines = run(BACKPROP, tmp_path / "mine", cuda_graphs=True)
    assert lines == [
        f"{mine.cell}: cuda_graphs: steps run as they are: a graph needs a GPU, the run is on cpu"
    ]
    assert same(mine.method.state_dict(), plain.method.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cuda_graphs": True, "schedule": "sequential"}, "cuda_graphs needs schedule joint"),
        ({"compile": "inductor", "recompute": "norms"}, "recompute and compile exclude each other"),
        ({"cuda_graphs": True, "recompute": "stages"}, r"stages and cuda_graphs exclude .* norms"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse(TrainConfig, settings, "training")


def on_gpu(row: Row, folder: Path, **training: Any) -> tuple[Trainer, list[str]]:
    """A finished run of three epochs on a GPU, with deterministic kernels; and its lines."""
    lines: list[str] = []
    cell = row.cell(epochs=3, deterministic=True, **training)
    trainer = Trainer(cell, data_of(cell), folder, torch.device("cuda"))
    with heard(lines.append):
        trainer.fit()
    return trainer, [line for line in lines if "graph" in line]


@pytest.mark.gpu
@rows()
def test_recorded_steps_compute_the_same(row: Row, tmp_path: Path) -> None:
    plain, _ = on_gpu(row, tmp_path / "plain")
    mine, lines = on_gpu(row, tmp_path / "mine", cuda_graphs=True)
    recorded = plain.method.graphable and not plain.method.two_views
    assert bool(lines) != recorded
    ours, theirs = mine.method.state_dict(), plain.method.state_dict()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(
    "training",
    [
        {"precision": "bf16"},
        {"accumulate": 2},
        {"step_in_backward": True},
        {"recompute": "norms"},
        {"channels_last": True},
    ],
    ids=str,
)
def test_recorded_steps_with_other_settings(
    training: dict[str, Any], optimizer: str, tmp_path: Path
) -> None:
    """The learning rate changes from epoch to epoch: a graph must not hold the first one."""
    row = Row(Case("dgl", {"feature_dim": 16}), "resnet8")
    settings = training | {"optimizer": optimizer, "lr": 0.01}
    plain, _ = on_gpu(row, tmp_path / "plain", **settings)
    mine, lines = on_gpu(row, tmp_path / "mine", cuda_graphs=True, **settings)
    assert lines == []
    for ours, theirs in zip(mine.method.parameters(), plain.method.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
