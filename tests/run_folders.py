"""Run folders, logs and ledgers written by hand, for tests of what is read from them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from modulewise.config.cell import Cell
from modulewise.config.plan import load_plan
from modulewise.runs import jobs
from modulewise.runs.result import Cost, Origin, Result

ROOT = Path(__file__).parents[1]
GRID = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["dgl"],
    "modules": [2, 3],
    "seeds": 1,
    "training": {"epochs": 9},
}
T = 1_800_000_000.0
"""A time, in seconds since 1970."""


def sweep(folder: Path, **changes: Any) -> tuple[Path, list[Cell]]:
    """A sweep's file and its cells."""
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"sweep": "s", "grids": [GRID | changes]}))
    return path, list(load_plan(path, ROOT).cells)


def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def start(cell: Cell, t: float = T, /, **changes: Any) -> dict[str, Any]:
    """A `start` event of this process."""
    event = {
        "ev": "start",
        "t": int(t * 1000),
        "cell": cell.model_dump(mode="json", exclude_defaults=True),
        "id": cell.id,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "epochs": cell.training.epochs,
        "epoch": 1,
    }
    return event | changes


def metric(epoch: int, t: float, value: float = 50.0, name: str = "error") -> dict[str, Any]:
    """A `metrics` event."""
    values = {f"test_{name}/overall": value, "time/train_s": 2.0 * epoch}
    return {"ev": "metrics", "t": int(t * 1000), "epoch": epoch, "values": values}


def end(t: float, status: str = "done") -> dict[str, Any]:
    """An `end` event."""
    return {"ev": "end", "t": int(t * 1000), "status": status}


def write(
    runs: Path, cell: Cell, *events: dict[str, Any], log: str = "", workflow: str | None = None
) -> Path:
    """Write a run's record, its training log and the workflow's log; returns its folder."""
    folder = runs / cell.path
    folder.mkdir(parents=True, exist_ok=True)
    if events:
        (folder / "record.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    if log:
        (folder / "train.log").write_text(log)
    if workflow is not None:
        path = runs.parent / "logs" / "runs" / f"{cell.path}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(workflow)
    return folder


def finish(
    runs: Path, cell: Cell, status: str = "done", /, *, device: str = "a CPU", **values: Any
) -> Result:
    """Write a run's result."""
    content = {
        "cell": cell,
        "status": status,
        "epochs": 9,
        "planned_epochs": 9,
        "test_last": 12.5,
        "cuts": [],
        "cost": Cost(),
        "origin": Origin(
            device=device,
            exclusive=True,
            host="h",
            starts=1,
            commit=None,
            source="",
            versions={},
        ),
    }
    made = Result.model_validate(content | values)
    made.save(write(runs, cell))
    return made


def submitting(token: str, cells: list[Cell], t: float = T) -> dict[str, Any]:
    """The ledger's event before a batch is submitted."""
    listed = [
        {"key": f"key-{c.id}", "output": [f"results/runs/{c.path}/result.json"]} for c in cells
    ]
    return {"ev": "submitting", "t": int(t * 1000), "token": token, "rule": "train", "jobs": listed}


def submitted(token: str, *ids: str, t: float = T) -> dict[str, Any]:
    """The ledger's event of a batch that Slurm has accepted."""
    return {"ev": "submitted", "t": int(t * 1000), "token": token, "ids": list(ids)}


def ended(
    cell: Cell, number: str, state: str, why: str = "", log: str = "", t: float = T
) -> dict[str, Any]:
    """The ledger's event of a job that has ended."""
    event = {"ev": "ended", "t": int(t * 1000), "key": f"key-{cell.id}", "id": number}
    return event | {"state": state, "why": why, "log": log}


def ledger(runs: Path, *events: dict[str, Any], torn: str = "") -> dict[str, jobs.Job]:
    """Write the ledger beside the runs; returns what is read from it."""
    path = runs.parent / jobs.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(e) + "\n" for e in events) + torn)
    return jobs.read(path)


def make(state: str, runs: Path, cell: Cell) -> None:
    """Bring a run into a state; the last epoch of a run that has begun is 4 of 9."""
    now = time.time()
    here, dead = start(cell, now, slurm_job="7"), start(cell, now, pid=gone())
    trained = metric(4, now + 4)
    match state:
        case "waiting":
            pass
        case "queued":
            write(runs, cell, dead, trained, log="x  asked to stop; saved\n")
            ledger(runs, submitting("a", [cell], now), submitted("a", "7", t=now))
        case "running":
            write(runs, cell, here, trained)
        case "stopped":
            write(runs, cell, dead, trained, log="x  epoch 4/9\n")
        case "failed":
            write(runs, cell, dead, trained, workflow="RuntimeError: broken\n")
        case "damaged":
            (write(runs, cell, dead, trained, end(now)) / "result.json").write_text('{"cell":')
        case _:
            write(runs, cell, dead, trained, end(now, state))
            finish(runs, cell, state)
