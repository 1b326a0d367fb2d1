"""The executor's ledger of its Slurm jobs: `jobs.jsonl`, append-only, one JSON object a line;
incomplete lines are skipped.

Events (`ev`), each with `t` in milliseconds since 1970:

- `submitting`: a batch with its `token`; each of its `jobs` has a `key` and `output` files.
- `submitted`: Slurm accepted that batch; `ids` has one number for each job, in order; packed jobs
  share one.
- `refused`: Slurm did not accept that batch.
- `ended`: a job ended: `key`, `id`, `state`, `why`, `log`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

FILE = Path("logs/slurm/jobs.jsonl")
"""Path of the ledger, from the folder that the runs' folder lies in."""


@dataclass(frozen=True)
class Job:
    """The last submission of a run."""

    submitted: int
    """Time of the submission, in milliseconds since 1970."""
    id: str = ""
    """Slurm's number, such as `12_0` in an array; empty until Slurm has accepted the job."""
    pack: int = 1
    """Number of runs in the allocation."""
    submissions: int = 1
    """Number of submissions of this run, this one included."""
    state: str = ""
    """Final state: `success` or Slurm's name of it; empty while the job has not ended."""
    why: str = ""
    """Reason of a failure; empty if none is known."""
    log: str = ""
    """Path of the job's log; empty if none is known."""


Batch = dict[str, Job | None]
"""Runs that were submitted together, each with its previous job, if it had one."""


def read(path: Path) -> dict[str, Job]:
    """The last job of every run, by the run's path below the runs' folder; none if there is no
    ledger."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return {}
    jobs: dict[str, Job] = {}
    batches: dict[str, Batch] = {}
    runs: dict[str, str] = {}
    for line in lines:
        try:
            _take(json.loads(line), jobs, batches, runs)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return jobs


def _take(
    event: dict[str, Any], jobs: dict[str, Job], batches: dict[str, Batch], runs: dict[str, str]
) -> None:
    """Apply one event to the `jobs` by run, the `batches` by token and the `runs` by key."""
    kind, at = event["ev"], int(event["t"])
    if kind == "submitting":
        asked = {str(j["key"]): _run(j["output"]) for j in event["jobs"]}
        runs |= asked
        batches[event["token"]] = {run: jobs.get(run) for run in asked.values()}
        for run in asked.values():
            jobs[run] = Job(at, submissions=jobs[run].submissions + 1 if run in jobs else 1)
    elif kind == "submitted":
        shared = Counter(event["ids"])
        for run, name in zip(batches[event["token"]], event["ids"], strict=True):
            jobs[run] = replace(jobs[run], submitted=at, id=str(name), pack=shared[name])
    elif kind == "refused":
        for run, before in batches.pop(event["token"]).items():
            if before:
                jobs[run] = before
            else:
                del jobs[run]
    elif kind == "ended":
        run = runs[event["key"]]
        if jobs[run].id in ("", str(event.get("id") or jobs[run].id)):
            state, why, log = (str(event.get(k) or "") for k in ("state", "why", "log"))
            jobs[run] = replace(jobs[run], state=state, why=why, log=log)


def _run(outputs: list[str]) -> str:
    """The run's path below the runs' folder, from the path of its result; of a job without a
    result, its first output."""
    for path in outputs:
        if path.endswith("/result.json"):
            return "/".join(Path(path).parent.parts[-6:])
    return outputs[0] if outputs else ""
