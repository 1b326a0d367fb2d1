"""What a run uses of its machine arrives in MLflow, under the names that MLflow's own monitors
have."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from mirrored_runs import runs_of

from cases import Case, Row, trainer_of
from modulewise.engine import usage
from modulewise.engine.nvml import Look
from modulewise.runs import record
from modulewise.tracking import mirror

mlflow = pytest.importorskip("mlflow")


class FakeNvml(ModuleType):
    """`pynvml` of one GPU, as MLflow asks it."""

    NVMLError = Exception

    def __getattr__(self, name: str) -> Any:
        figures = {
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=2_000_000_000, total=80_000_000_000),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=63),
            "nvmlDeviceGetPowerUsage": 210_000,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
        }
        if not name.startswith("nvml"):
            raise AttributeError(name)
        return lambda *_: figures.get(name, 1)


def mlflows(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Figures of MLflow's own monitors of CPU and GPU, by name."""
    from mlflow.system_metrics.metrics import gpu_monitor
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor

    fake = FakeNvml("pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(gpu_monitor, "pynvml", fake, raising=False)
    out: dict[str, float] = {}
    for monitor in (CPUMonitor(), gpu_monitor.GPUMonitor()):
        monitor.collect_metrics()
        out |= monitor.aggregate_metrics()
    return out


def test_names_and_units_are_mlflows(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = mlflows(monkeypatch)
    look = Look(63.0, 2_000_000_000, 80_000_000_000, 210.0, 700.0)
    gpu = SimpleNamespace(known=True, look=lambda: look)
    monkeypatch.setattr(usage, "Gpu", lambda _: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="a"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "8000")
    with usage.Usage([torch.device("cuda")]) as watch:
        ours = {k.removeprefix("system/"): v for k, v in watch.epoch({}).items()}
    assert ours.keys() == theirs.keys()
    assert {k: v for k, v in ours.items() if k.startswith("gpu")} == {
        k: v for k, v in theirs.items() if k.startswith("gpu")
    }


def test_system_metrics_arrive(tmp_path: Path, store: tuple[str, Path], dataset: str) -> None:
    cell = Row(Case("greedy"), "resnet8").cell(epochs=2).model_copy(update={"dataset": dataset})
    folder = tmp_path / cell.path
    trainer_of(cell, folder).fit()
    mirror.mirror(tmp_path, *store)
    (run,) = runs_of(store[0], dataset)
    client = mlflow.MlflowClient(store[0])
    said = record.read(folder).metrics
    for name in ("cpu_utilization_percentage", "system_memory_usage_megabytes"):
        history = client.get_metric_history(run.info.run_id, f"system/{name}")
        assert [(m.step, m.value) for m in history] == [
            (epoch, said[f"system/{name}", epoch][0]) for epoch in (1, 2)
        ]
        assert all(m.value > 0 for m in history)
