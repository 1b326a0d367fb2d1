"""Cost of a run so far: starts, waiting time, running time and device-hours, from its record and
the executor's ledger of jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modulewise.runs.jobs import Job
from modulewise.runs.record import RunHistory


@dataclass(frozen=True)
class RunCost:
    """Cost of one run so far."""

    job: str = ""
    """Slurm's number of the last job; empty if there is none."""
    starts: int = 0
    """Number of processes that began or resumed the run."""
    waited: float | None = None
    """Seconds from the last submission to the start that followed it, or to now."""
    ran: float = 0.0
    """Wall time in seconds, summed over starts."""
    device_hours: float = 0.0
    """Hours of wall time, multiplied by the number of GPUs the run saw (a run on a CPU counts as
    one device) and divided by the number of runs that share the allocation.

    The time before a run's first and after its last event (imports, Snakemake) is not included.
    """


def run_cost(said: RunHistory, job: Job | None, running: bool, queued: bool, now: float) -> RunCost:
    """Sum the cost of a run over its starts.

    Args:
        said: the run's record.
        job: the run's last job, if the ledger has one.
        running: whether the last start is still running.
        queued: whether the job waits in Slurm's queue.
        now: seconds since 1970.
    """
    ran = hours = 0.0
    number = job.id if job else ""
    for n, (start, (begun, last)) in enumerate(zip(said.starts, said.spans, strict=True), 1):
        end = now * 1000 if running and n == len(said.starts) else last
        seconds = max(0.0, (end - begun) / 1000)
        devices, pack = _count(start.get("devices")), _count(start.get("pack"))
        if pack == 1 and job and job.id == start.get("slurm_job"):
            pack = job.pack
        ran, hours = ran + seconds, hours + seconds * devices / pack / 3600
        number = job.id if job and job.id else str(start.get("slurm_job") or number)
    waited = None
    if job:
        first = next((begun for begun, _ in said.spans if begun >= job.submitted), None)
        if first is not None or queued:
            waited = max(0.0, (now * 1000 if first is None else first) - job.submitted) / 1000
    return RunCost(number, len(said.starts), waited, ran, hours)


def _count(value: Any) -> int:
    """A number of devices or runs from a record; 1 if the record has none."""
    return value if isinstance(value, int) and value > 0 else 1
