"""Messages about jobs, and what is read of the files that their allocations leave."""

import pickle
from collections.abc import Sequence
from pathlib import Path

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from .ledger import AGAIN

TAIL = 15
"""Lines of a failed job's log in its message."""

END = 2**18
"""Bytes of a log in which they are looked for: a log may be larger than the controller's memory."""

REFUSED_REQUEUE = (
    "Slurm refuses to requeue jobs here: those that stop at their time limit, or for others, are "
    "submitted again and go on from their checkpoint"
)


def log_tail(log: Path) -> list[str]:
    """The end of a job's log: what its command said, without Snakemake's account of the failure."""
    lines = [
        line.rstrip()
        for line in text(log, END).splitlines()
        if line.strip() and not line.startswith("submitit INFO")
    ]
    own = next(
        (
            i
            for i, line in enumerate(lines)
            if line.startswith(("RuleException:", "Error in rule", "Error in group"))
        ),
        len(lines),
    )
    return lines[:own][-TAIL:] + [
        line for line in lines[own:] if line.startswith(("slurmstepd", "srun:"))
    ] or ["(empty)"]


def text(path: Path, end: int = 0) -> str:
    """What a file says, or its last `end` bytes; nothing if it is not there."""
    try:
        with path.open("rb") as f:
            f.seek(max(0, path.stat().st_size - end) if end else 0)
            return f.read().decode(errors="replace").strip()
    except OSError:
        return ""


def result(path: Path) -> str:
    """Why submitit's part of a job failed; empty if it did not."""
    try:
        outcome, value = pickle.loads(path.read_bytes())
    # Missing, cut off, or of classes that only the node knows: the job's state will tell.
    except Exception:
        return ""
    said = str(value).strip() or "submitit reported an error without a message"
    return "" if outcome == "success" else said.splitlines()[-1].partition(": ")[2] or said


def ended(status: str) -> str:
    """Why a job failed, from what its allocation left of its command."""
    if status == AGAIN:
        return "stopped too often at its time limit, and Slurm refuses to requeue it"
    return f"the command ended with status {status}"


def span(ids: Sequence[str]) -> str:
    """Slurm ids in short.

    Example:
        >>> span(["7_0", "7_1", "7_2"]), span(["7"])
        ('7_0 to 7_2', '7')
    """
    distinct = list(dict.fromkeys(ids))
    return distinct[0] if len(distinct) == 1 else f"{distinct[0]} to {distinct[-1]}"


def wildcards(job: JobExecutorInterface) -> str:
    """What tells a job from others of its rule, for people."""
    given = getattr(job, "wildcards_dict", None)
    return (
        ", ".join(f"{k}={v}" for k, v in given.items())
        if given
        else f"{len(list(job.output))} outputs"
    )
