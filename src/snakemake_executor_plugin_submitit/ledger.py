"""Who runs what: an append-only file of submissions, so that a controller that comes back finds its
jobs.

One JSON object a line. `submitting` comes before sbatch, with a token that is also the comment of
the Slurm job; `submitted` after it, with one id for each job; `ended` when a job's fate is known. A
last line that was cut off is ignored. Times are milliseconds since 1970.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.utils import encode_target_jobs_cli_args

FILE = "jobs.jsonl"

AGAIN = "again"
"""In place of an exit status: the command was stopped to be requeued, and Slurm refused that."""


@dataclass(frozen=True)
class Place:
    """Where a job runs: the Slurm id, its number among those that share the allocation, and the
    folder of its submission."""

    id: str
    member: int
    folder: Path

    @property
    def exit(self) -> Path:
        """The file in which the allocation leaves the exit status of the job's command."""
        return self.folder / f"{self.id}_{self.member}.exit"

    @property
    def node(self) -> Path:
        """The file in which the allocation leaves the names of the nodes that it ran on."""
        return self.folder / f"{self.id}.node"

    def log(self, alone: bool) -> Path:
        """The job's own log; a job alone in its allocation has Slurm's."""
        return self.folder / (f"{self.id}_0_log.out" if alone else f"{self.id}_{self.member}.log")


class Ledger:
    """The file `jobs.jsonl` in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        if self.path.exists() and (said := self.path.read_bytes()) and not said.endswith(b"\n"):
            self._append(b"\n")

    def submitting(
        self,
        token: str,
        rule: str,
        folder: Path,
        pack: int,
        jobs: Sequence[dict[str, Any]],
        cluster: str = "slurm",
    ) -> None:
        """Before a submission; `jobs` are `{key, output}`."""
        self._write(
            "submitting",
            token=token,
            rule=rule,
            folder=str(folder),
            pack=pack,
            cluster=cluster,
            jobs=list(jobs),
        )

    def submitted(self, token: str, ids: Sequence[str]) -> None:
        """After it: an id for each job, in their order."""
        self._write("submitted", token=token, ids=list(ids))

    def refused(self, token: str) -> None:
        """The submission did not come about."""
        self._write("refused", token=token)

    def ended(self, key: str, id: str, state: str, why: str = "", log: str = "") -> None:
        """A job's fate; `state` is `success` or what Slurm says."""
        self._write("ended", key=key, id=id, state=state, why=why, log=log)

    def open(self) -> tuple[dict[str, Place], list[str]]:
        """Slurm jobs by key that have not ended, and tokens of submissions of which nobody knows
        whether they came about."""
        places: dict[str, Place] = {}
        begun: dict[str, dict[str, Any]] = {}
        for line in self._lines():
            # Numbers of local processes are no ids of Slurm.
            if line["ev"] == "submitting" and line.get("cluster", "slurm") == "slurm":
                begun[line["token"]] = line
            elif line["ev"] == "refused":
                begun.pop(line["token"], None)
            elif line["ev"] == "submitted" and (asked := begun.pop(line["token"], None)):
                for i, (job, id) in enumerate(zip(asked["jobs"], line["ids"], strict=True)):
                    places[job["key"]] = Place(id, i % asked["pack"], Path(asked["folder"]))
            elif (
                line["ev"] == "ended"
                and (place := places.get(line["key"]))
                and place.id == line["id"]
            ):
                del places[line["key"]]
        return places, list(begun)

    def purge(self, before: float, keep: int) -> list[Path]:
        """Forget old submissions whose jobs have all ended.

        Args:
            before: seconds since 1970; older submissions go.
            keep: so many submissions stay at most.

        Returns:
            The folders of those forgotten.
        """
        lines = list(self._lines())
        places, unsure = self.open()
        alive = {str(p.folder) for p in places.values()}
        asked = [x for x in lines if x["ev"] == "submitting"]
        ended = [x for x in asked if x["folder"] not in alive and x["token"] not in unsure]
        stay = {x["token"] for x in ended[max(0, len(ended) - keep) :] if x["t"] / 1000 >= before}
        gone = [x for x in ended if x["token"] not in stay]
        if not gone:
            return []
        tokens = {x["token"] for x in gone}
        kept_keys = {j["key"] for x in asked if x["token"] not in tokens for j in x["jobs"]}
        left = [
            x
            for x in lines
            if (x["key"] in kept_keys if x["ev"] == "ended" else x["token"] not in tokens)
        ]
        tmp = self.path.with_suffix(".tmp")
        tmp.write_text("".join(json.dumps(x, separators=(",", ":")) + "\n" for x in left))
        tmp.replace(self.path)
        return [Path(x["folder"]) for x in gone]

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        for line in self.path.read_text().splitlines():
            try:
                event = json.loads(line)
                if isinstance(event, dict) and "ev" in event:
                    yield event
            except ValueError:
                continue

    def _write(self, ev: str, **values: Any) -> None:
        event = {"ev": ev, "t": int(time.time() * 1000), **values}
        self._append((json.dumps(event, separators=(",", ":")) + "\n").encode())

    def _append(self, line: bytes) -> None:
        with self.path.open("ab", buffering=0) as f:
            f.write(line)
            os.fsync(f.fileno())


def key_of(job: JobExecutorInterface) -> str:
    """What tells a job from others across controllers: rule, wildcards and parameters."""
    jobs = list(getattr(job, "jobs", [job]))
    what = [
        encode_target_jobs_cli_args(job.get_target_spec()),
        sorted(repr(list(map(str, j.params))) for j in jobs),
    ]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
