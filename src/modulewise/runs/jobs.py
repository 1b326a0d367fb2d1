"""What the executor wrote of its Slurm jobs: `jobs.jsonl`, one JSON object a line, appended to; a
torn line is passed over.

Events (`ev`), each with `t` in milliseconds since 1970: `submitting` (a batch with its `token`;
each of its `jobs` with its `key` and `output` files), `submitted` (Slurm's `ids` of that batch, one
for each of its jobs, in order; packed jobs share one), `refused` (Slurm did not take that batch),
`ended` (`key`, `id`, `state`, `why`, `log`).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

FILE = Path("results/logs/slurm/jobs.jsonl")


@dataclass(frozen=True)
class Job:
    """The last submission of a run."""

    submitted: int
    """Milliseconds since 1970."""
    id: str = ""
    """Slurm's number, `12_0` of an array; empty until Slurm has taken the job."""
    pack: int = 1
    """Number of runs in the allocation."""
    submissions: int = 1
    """Including the earlier ones."""
    state: str = ""
    """How it ended, `success` or Slurm's word; empty as long as it has not."""
    why: str = ""
    log: str = ""


Batch = dict[str, Job | None]
"""Runs that were submitted together, each with its job before that, if it had one."""


def read(path: Path) -> dict[str, Job]:
    """The last job of every run, by the run's path below `results/runs`; none if there is no
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
    """Fold one event in: the `jobs` by run, the batches by token, and the run of every key."""
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
    """A run's path below `results/runs`, from its result; of a job without one, its first
    output."""
    for path in outputs:
        if path.endswith("/result.json"):
            return "/".join(Path(path).parent.parts[-6:])
    return outputs[0] if outputs else ""
