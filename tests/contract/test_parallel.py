"""Modules in processes of their own learn what they learn jointly, bit for bit, and end with the
run, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import forked  # noqa: F401 (its server, which the processes come of, has torch loaded)
from cases import Case, Row, heard, same, snapshot, trainer_of
from modulewise.config.training import TrainConfig
from modulewise.engine.trainer import Interrupted, Stop, Trainer
from modulewise.errors import InvalidInput
from modulewise.runs import record
from modulewise.schedules.parallel import Parallel

pytestmark = pytest.mark.usefixtures("uncounted")

DGL = Row(Case("dgl", {"feature_dim": 8}, modules=2), "mlp3x16")
JOINT = [
    (DGL, {"lr_update": "step", "warmup_epochs": 1, "optimizer": "adamw", "lr": 0.01}),
    (Row(Case("infopro", {"feature_dim": 8}, modules=2), "resnet8"), {"step_in_backward": True}),
    (Row(Case("contsup", {"context": "R1E", "feature_dim": 8}), "resnet8"), {}),
    (Row(Case("predsim", modules=2), "mlp3x16"), {"precision": "bf16"}),
    (Row(Case("drtp", modules=2), "mlp3x16"), {}),
]
CLOCKS = ("time/", "throughput/", "memory/", "system/")


def made(
    row: Row, folder: Path, stop: Stop | None = None, epochs: int = 3, **training: Any
) -> Trainer:
    """A trainer of the parallel schedule, unless it is told another."""
    cell = row.cell(epochs=epochs, **{"schedule": "parallel"} | training)
    return trainer_of(cell, folder, stop=stop)


def learnt(trainer: Trainer) -> tuple[dict[str, torch.Tensor], dict[Any, float]]:
    """Weights and record of a finished run, without what a clock measured."""
    found = record.read(trainer.folder).settled().items()
    values = {key: value for key, (value, _) in found if not key[0].startswith(CLOCKS)}
    return snapshot(trainer.method), values


def processes(trainer: Trainer) -> list[int]:
    """Ids of the modules' processes."""
    assert isinstance(trainer.schedule, Parallel) and trainer.schedule.pool
    return [p.pid or 0 for p in trainer.schedule.pool.processes]


def gone(pid: int, within: float = 30.0) -> bool:
    """Whether a process ends within so many seconds; one that nobody has waited for has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for _ in range(int(within / 0.02)):
            if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
            time.sleep(0.02)
        return False
    return True


@contextmanager
def after_epoch(act: Callable[[], object]) -> Iterator[None]:
    """Act when the first epoch is reported."""
    with heard(lambda line: act() if "epoch 1/" in line else None):
        yield


@pytest.mark.parametrize(("row", "settings"), JOINT, ids=[str(row.case) for row, _ in JOINT])
def test_it_is_the_joint_schedule(row: Row, settings: dict[str, Any], tmp_path: Path) -> None:
    joint = made(row, tmp_path / "joint", schedule="joint", **settings)
    parallel = made(row, tmp_path / "parallel", **settings)
    ids: list[int] = []
    with after_epoch(lambda: ids.extend(processes(parallel))):
        result = parallel.fit()
    joint.fit()
    weights, values = learnt(joint)
    assert same(weights, learnt(parallel)[0])
    assert learnt(parallel)[1] == values
    assert len(set(ids)) == row.case.modules
    assert all(gone(pid, 1.0) for pid in ids), "they end with the run"
    seconds = result.cost.module_seconds
    assert seconds and len(seconds) == row.case.modules and min(seconds) > 0


@pytest.mark.parametrize("n", [1, 6, 8])
def test_stopped_while_batches_are_under_way(n: int, tmp_path: Path) -> None:
    """Of an epoch's six batches four are under way: the run goes on until none is."""
    joint = made(DGL, tmp_path / "joint", schedule="joint")
    joint.fit()
    stop, folder = Stop(), tmp_path / "parallel"
    first = made(DGL, folder, stop)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        count, inner = 0, Parallel.step

        def step(*args: Any) -> Any:
            nonlocal count
            count += 1
            stop.asked = count == n or stop.asked
            return inner(*args)

        patch.setattr(Parallel, "step", step)
        first.fit()
    assert count == min(n + 3, 6 * (1 + (n - 1) // 6)), "no batch is fed after the stop"
    again = made(DGL, folder)
    assert again.fit().origin.starts == 2
    assert same(learnt(again)[0], learnt(joint)[0])
    assert learnt(again)[1] == learnt(joint)[1]


def _train_for_ever(folder: Path, told: Connection) -> None:
    torch.set_num_threads(1)
    multiprocessing.set_forkserver_preload(["modulewise.schedules.parallel"])
    trainer = made(DGL, folder, epochs=100_000)
    with after_epoch(lambda: told.send(processes(trainer))):
        trainer.fit()


def test_processes_end_when_the_trainer_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    hear, told = context.Pipe(duplex=False)
    trainer = context.Process(target=_train_for_ever, args=(tmp_path, told))
    trainer.start()
    ids = hear.recv()
    assert len(ids) == 2 and trainer.pid
    for pid in ids:  # what a batch system sends to all at once ends none
        os.kill(pid, signal.SIGTERM)
    assert not gone(ids[0], 0.2)
    os.kill(trainer.pid, signal.SIGKILL)
    trainer.join()
    assert all(map(gone, ids))


def test_a_process_that_is_killed_ends_the_run(tmp_path: Path) -> None:
    trainer = made(DGL, tmp_path)
    ids: list[int] = []

    def kill() -> None:
        ids.extend(processes(trainer))
        os.kill(ids[1], signal.SIGKILL)

    with after_epoch(kill), pytest.raises(InvalidInput, match=r"module 1 was ended .*signal 9"):
        trainer.fit()
    assert all(map(gone, ids))


def test_an_error_in_a_process_ends_the_run_in_one_line(tmp_path: Path) -> None:
    trainer = made(DGL, tmp_path)
    trainer.method.trunk[1] = nn.Linear(3, 3)
    trainer.flops = []
    with pytest.raises(
        InvalidInput, match=r"^schedule parallel, module 1: RuntimeError: .*mat1 and"
    ):
        trainer.fit()


def test_a_step_that_draws_random_numbers_is_refused(tmp_path: Path) -> None:
    trainer = made(DGL, tmp_path)
    trainer.method.trunk[0] = nn.Sequential(nn.RReLU(), trainer.method.trunk[0])
    with pytest.raises(InvalidInput, match="module 0: a step draws random numbers"):
        trainer.fit()


@pytest.mark.parametrize(
    ("row", "settings", "line"),
    [
        (Row(Case("dni"), "mlp3x16"), {}, "dni runs under schedule joint only, got parallel"),
        (Row(Case("cascade", {"units": 8}), "vgg8b-w2-d30"), {}, "have dropout"),
        (Row(Case("local_simclr"), "resnet8"), {}, "two augmentations of an image"),
        (DGL, {"compile": "aot_eager"}, "set compile: off"),
    ],
    ids=["feedback", "dropout", "views", "compile"],
)
def test_what_cannot_be_the_joint_schedule_is_refused(
    row: Row, settings: dict[str, Any], line: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=line):
        made(row, tmp_path, **settings)


def test_micro_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="accumulate needs schedule joint, got parallel"):
        TrainConfig(schedule="parallel", accumulate=2)


def test_fewer_gpus_than_modules_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    schedule = Parallel(TrainConfig(), 3, 10, 0)
    with pytest.raises(InvalidInput, match="3 modules need 3 GPUs, 1 is visible"):
        schedule.places(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [str(d) for d in schedule.places(torch.device("cuda"))] == ["cuda:0", "cuda:1", "cuda:2"]
