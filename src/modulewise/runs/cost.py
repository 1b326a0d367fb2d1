"""What a run has cost so far: starts, waiting, running time and device-hours, from its record and
the executor's ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modulewise.runs.jobs import Job
from modulewise.runs.record import RunHistory


@dataclass(frozen=True)
class RunCost:
    """Of one run."""

    job: str = ""
    """Slurm's number of the last job."""
    starts: int = 0
    """Processes that began the run or resumed it."""
    waited: float | None = None
    """Seconds from the last submission to the start that followed, or to now."""
    ran: float = 0.0
    """Seconds of all starts, each from its first word in the record to its last, or to now while it
    goes on."""
    device_hours: float = 0.0
    """Running time x GPUs the run saw (a run on a CPU counts as one device) / runs that share the
    allocation.

    What a job spends before the first and after the last word of its run (imports, Snakemake) is
    not in it.
    """


def run_cost(said: RunHistory, job: Job | None, running: bool, queued: bool, now: float) -> RunCost:
    """Add up what a run has cost.

    Args:
        said: its record.
        job: its last job, if the ledger knows one.
        running: whether the last start goes on.
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
    """A number of devices or runs, as a record says it; 1 in records that do not."""
    return value if isinstance(value, int) and value > 0 else 1
