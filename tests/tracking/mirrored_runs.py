"""Run folders written by hand, and what MLflow holds of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modulewise.config.cell import Cell
from modulewise.runs import record
from modulewise.runs.record import Record
from modulewise.runs.result import Cost, Origin, Result
from modulewise.tracking import view

mlflow = pytest.importorskip("mlflow")

EPOCHS = 4


def cell_of(dataset: str, modules: int = 2, seed: int = 0, **training: Any) -> Cell:
    training = {"epochs": EPOCHS} | training
    names = {"dataset": dataset, "network": "resnet20", "recipe": "greedy-sgd", "method": "dgl"}
    return Cell.model_validate(
        names
        | {"modules": modules, "seed": seed, "training": training, "data": {"source": "digits"}}
    )


def values_of(cell: Cell, epoch: int, shift: float = 0.0) -> dict[str, float]:
    error = 50 / epoch + cell.seed + shift
    heads = {f"test_error/module_{k}": error + k for k in range(cell.modules - 1)}
    return {
        "test_error/overall": error,
        **heads,
        "train_loss/module_0": error / 10,
        "time/train_s": 1.5 * epoch,
    }


def begin(cell: Cell, runs: Path, **more: Any) -> tuple[Record, Path]:
    """A process starts or resumes the run, as the trainer writes it."""
    folder = runs / cell.path
    log = Record(folder)
    start = {
        "host": "node7",
        "device": "a CPU",
        "commit": "0123456789ab",
        "source": "fedcba",
        "slurm_job": None,
    }
    content = cell.model_dump(mode="json", exclude_defaults=True)
    log.write("start", cell=content, id=cell.id, epochs=cell.training.epochs, **(start | more))
    return log, folder


def finish(
    cell: Cell, log: Record, folder: Path, status: Any = "done", epochs: int = EPOCHS
) -> None:
    reason = None if status == "done" else f"the run {status}"
    log.write("end", status=status, reason=reason)
    log.close()
    (folder / "train.log").write_text("epoch 1\n")
    Result(
        cell=cell,
        status=status,
        reason=reason,
        epochs=epochs,
        planned_epochs=EPOCHS,
        test_last=values_of(cell, epochs)["test_error/overall"],
        cuts=[3],
        cost=Cost(peak_memory_bytes=3 * 2**20, memory_source="cpu allocator", train_seconds=12.5),
        origin=Origin(
            device="a CPU",
            exclusive=True,
            host="node7",
            starts=1,
            commit=None,
            source="fedcba",
            versions={},
            data="0123abcd",
        ),
    ).save(folder)


def whole(cell: Cell, runs: Path) -> Path:
    """A finished run."""
    log, folder = begin(cell, runs)
    for epoch in range(1, EPOCHS + 1):
        log.metrics(epoch, values_of(cell, epoch))
        log.commit(epoch)
    finish(cell, log, folder)
    return folder


def runs_of(uri: str, dataset: str) -> list[Any]:
    experiment = mlflow.MlflowClient(uri).get_experiment_by_name(f"modulewise-{dataset}")
    return (
        list(mlflow.MlflowClient(uri).search_runs([experiment.experiment_id])) if experiment else []
    )


def points_of(uri: str, run: Any) -> dict[tuple[str, int], list[tuple[float, int]]]:
    """Every stored point of a run; a list longer than one is a doubled point."""
    client, out = mlflow.MlflowClient(uri), {}
    for name in run.data.metrics:
        for m in client.get_metric_history(run.info.run_id, name):
            out.setdefault((name, m.step), []).append((m.value, m.timestamp))
    return out


def assert_equal(uri: str, run: Any, folder: Path) -> None:
    """The curves of a run are those of its record: every settled point once, with its value and
    time, and no other."""
    curves = {
        at: got
        for at, got in points_of(uri, run).items()
        if not at[0].startswith(view.SUMMARY) and not at[0].endswith("/last")
    }
    assert curves == {at: [point] for at, point in record.read(folder).settled().items()}
