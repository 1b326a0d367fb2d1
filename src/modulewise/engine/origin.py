"""Where and with what a run is made."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from modulewise.config.cell import Cell
from modulewise.data.base import Data
from modulewise.engine import device
from modulewise.engine.progress import Progress
from modulewise.engine.usage import asked
from modulewise.runs import record
from modulewise.runs.checkout import git_commit
from modulewise.runs.provenance import source_hash
from modulewise.runs.result import Origin, PrimaryMetric, ReusedFrom


def start_event(
    cell: Cell, metric: PrimaryMetric, places: Sequence[torch.device], progress: Progress
) -> dict[str, Any]:
    """What a record says when a process begins the run, or resumes it.

    Args:
        cell: the run's.
        metric: primary metric of its task.
        places: devices of its processes, its own first.
        progress: where the run stands.
    """
    on = places[0]
    return {
        "cell": cell.model_dump(mode="json", exclude_defaults=True),
        "id": cell.id,
        "metric": metric.model_dump(mode="json"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": device.describe(on),
        "commit": git_commit(),
        "source": source_hash(cell),
        "slurm_job": device.slurm_job(),
        "slurm_restart": os.environ.get("SLURM_RESTART_COUNT"),
        "devices": max(device.visible(on), cell.training.devices),
        "pack": device.pack(),
        "asked": asked(places).model_dump(exclude_none=True),
        "epochs": progress.epochs or cell.training.planned,
        "epoch": progress.epoch,
    }


def origin_of(
    cell: Cell,
    folder: Path,
    on: torch.device,
    progress: Progress,
    data: Data,
    reused: ReusedFrom | None = None,
) -> Origin:
    """Where and with what a run was made.

    Args:
        cell: the run's.
        folder: of the run.
        on: the device.
        progress: after the last step.
        data: it was trained and tested on.
        reused: where reused modules come from.
    """
    return Origin(
        device=", then ".join([*progress.earlier, device.describe(on)]),
        exclusive=progress.exclusive and (on.type != "cpu" or progress.had_its_core),
        host=socket.gethostname(),
        starts=len(record.read(folder).starts),
        commit=git_commit(),
        source=source_hash(cell),
        versions=device.versions(),
        data=data.digest,
        train_images=data.sizes.train,
        test_images=data.sizes.test,
        slurm_job=device.slurm_job(),
        reused=reused,
    )
