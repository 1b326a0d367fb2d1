"""Jobs in Slurm's own words: submit one, ask the controller for its record, wait until the record
says so."""

from __future__ import annotations

import re
import time
from pathlib import Path

from cluster import Cluster, ClusterError

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}


def submit(cluster: Cluster, folder: Path, script: str, *options: str) -> str:
    """Submit a shell script that runs in a folder and writes to `<id>.out` there; its id."""
    files = [f"--chdir={folder}", f"--output={folder}/%j.out", "--open-mode=append"]
    return cluster.run("sbatch", "--parsable", *files, *options, "--wrap", script).strip()


def record(cluster: Cluster, job: str) -> dict[str, str]:
    """What the controller says of a job: `JobState`, `Restarts`, `NodeList`, ..."""
    text = cluster.run("scontrol", "--oneliner", "show", "job", job)
    return dict(re.findall(r"(\S+?)=(\S*)", text))


def wait_for(cluster: Cluster, job: str, timeout: float = 60, **fields: str) -> dict[str, str]:
    """The job's record once it holds these values.

    Raises:
        ClusterError: it does not within `timeout` seconds, or the job has ended without them.
    """
    deadline = time.monotonic() + timeout
    while True:
        now = record(cluster, job)
        if fields.items() <= now.items():
            return now
        if now["JobState"] in ENDED or time.monotonic() > deadline:
            raise ClusterError(f"job {job}: waited for {fields}, it is {now}")
        time.sleep(0.1)
