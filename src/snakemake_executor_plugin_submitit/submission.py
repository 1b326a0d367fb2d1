"""One submission: jobs of equal shape become an array of allocations."""

import contextlib
import io
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from .cache import CACHE

SCRATCH = (".pkl", ".exit", ".sh", ".node")
"""Ends of the names of files that are of no use once a submission has ended; its logs stay."""


@dataclass(frozen=True)
class Batch:
    """Jobs of one rule and equal resources that go out together."""

    infos: list[SubmittedJobInfo]
    parameters: dict[str, Any]
    """What submitit is told of an allocation, and whether the jobs are `resumable`."""
    pack: int
    """Number of jobs that share an allocation."""

    @property
    def rule(self) -> str:
        """Name of the jobs' rule."""
        return self.infos[0].job.name

    @property
    def allocations(self) -> int:
        """Number of allocations, each of up to `pack` jobs."""
        return -(-len(self.infos) // self.pack)

    def split(self, size: int) -> list["Batch"]:
        """The same jobs in batches of so many allocations at most."""
        step = size * self.pack
        parts = [self.infos[n : n + step] for n in range(0, len(self.infos), step)]
        return [Batch(part, self.parameters, self.pack) for part in parts]


@dataclass(frozen=True)
class Submission:
    """A batch about to be submitted: its token, which is also the comment of the Slurm job, and its
    folder."""

    batch: Batch
    token: str
    folder: Path

    @classmethod
    def begin(cls, batch: Batch, logdir: Path) -> "Submission":
        """Make the folder of a new submission."""
        token = uuid.uuid4().hex[:12]
        folder = logdir / batch.rule / f"{time.strftime('%Y%m%d-%H%M%S')}-{token[:6]}"
        folder.mkdir(parents=True)
        return cls(batch, token, folder)

    def send(self, commands: Sequence[str], settings: Any) -> list[Any]:
        """Hand the jobs to submitit.

        Args:
            commands: shell command of every job.
            settings: of the executor.

        Returns:
            Submitit's handles, one for each allocation.
        """
        from .job import LEAVE, Allocation

        batch, p = self.batch, dict(self.batch.parameters)
        resumable = p.pop("resumable")
        limit_s, leave_s = p["time"] * 60.0, p["signal_delay_s"] * LEAVE
        allocations = [
            Allocation(
                list(commands[n : n + batch.pack]),
                self.folder,
                str(Path.cwd()),
                resumable,
                limit_s,
                leave_s,
                str(self.folder.parents[1] / CACHE),
            )
            for n in range(0, len(commands), batch.pack)
        ]
        executor = self._executor(p, settings)
        # What sbatch writes to stderr comes with the exception too.
        with contextlib.redirect_stderr(io.StringIO()):
            if len(allocations) == 1:
                return [executor.submit(allocations[0])]
            with executor.batch():
                return [executor.submit(a) for a in allocations]

    def _executor(self, parameters: dict[str, Any], settings: Any) -> Any:
        """Submitit's executor, told what the jobs ask for."""
        import submitit

        from . import sbatch

        folder = plain(self.folder)
        if settings.cluster == "slurm":
            executor: Any = sbatch.Sbatch(folder, max_num_timeout=settings.max_requeues)
            executor.update_parameters(
                **sbatch.options(self.folder, self.batch.allocations > 1, parameters),
                job_name=f"{settings.name_prefix}-{self.batch.rule}",
                comment=self.token,
                stderr_to_stdout=True,
                array_parallelism=settings.array_parallelism,
            )
        elif settings.cluster == "local":
            executor = submitit.LocalExecutor(folder)
            executor.update_parameters(timeout_min=parameters["time"], stderr_to_stdout=True)
        else:
            executor = submitit.DebugExecutor(folder)
        return executor


def plain(folder: Path) -> Path:
    """The same folder under a name without `%`: submitit takes `%j` for a job's id, wherever it
    stands. The jobs' working folder is the controller's.

    Raises:
        ValueError: it has a `%` below the working folder, or lies elsewhere.
    """
    if "%" not in str(folder):
        return folder
    below = os.path.relpath(folder)
    if "%" in below or below.startswith(".."):
        raise ValueError(f"submitit-logdir: {folder}: a name without % below the project is needed")
    return Path("/proc/self/cwd") / below


def tidy(folder: Path, alive: set[str]) -> None:
    """Remove all but the logs of ended allocations from the folder of a submission.

    Args:
        folder: of the submission.
        alive: Slurm ids, of arrays without their tasks, that have not ended.
    """
    for name in names(folder):
        if name.endswith(SCRATCH) and name.lstrip(".").partition("_")[0] not in alive:
            (folder / name).unlink(missing_ok=True)


def names(folder: Path) -> set[str]:
    """Names in a folder: reading it anew sees on a network file system what `exists` may not see
    yet."""
    try:
        return {p.name for p in folder.iterdir()}
    except OSError:
        return set()
