"""Questions to Slurm, and what its answers mean. A question that failed is never taken for an
answer."""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ENDED = frozenset(
    [
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
        "UNKNOWN",
    ]
)
"""States that a job does not leave by itself; a requeue does change NODE_FAIL and PREEMPTED.
UNKNOWN: Slurm has forgotten the job."""

RETURNING = frozenset(["BOOT_FAIL", "NODE_FAIL", "PREEMPTED"])
"""States of a job that Slurm may be about to requeue."""

_AT_ONCE = 5000
"""Ids in one question: a word of a command line holds 128 kB."""

_DROPPED = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_")

_MADE = re.compile(r"\s*(?:Submitted batch job )?(\d+)(?:;\S+| on cluster \S+)?\s*")
_LIMIT = re.compile(r"\w*Submit\w*Limit\w*|\w*MaxSubmit\w*")
_BUSY = re.compile(
    r"contact slurm controller|timed out|temporarily|try again|Zero Bytes|Connection "
    r"(refused|reset)|Transport endpoint|"
    r"Unexpected message|standby|Protocol authentication error|controller.*(busy|not responding)",
    re.I,
)


class QueryFailed(RuntimeError):
    """Slurm did not answer."""


@dataclass(frozen=True)
class Site:
    """What the site allows."""

    max_array: int
    accounting: bool
    brief: bool = False
    """The controller answers questions for states alone at little cost: `--only-job-state` of Slurm
    24.05 and later."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Minutes that a job may ask for, by partition; the default one also as `""`. Those without a
    limit are missing."""

    def limit(self, partitions: str) -> int | None:
        """Minutes that a job may ask for in some partitions, such as `short,long`; `None` if as
        many as it likes, or if nobody knows."""
        limits = [self.limits.get(name) for name in partitions.split(",")]
        known = [minutes for minutes in limits if minutes is not None]
        return max(known) if len(known) == len(limits) else None


@dataclass(frozen=True)
class State:
    """A job's state, and Slurm's reason for it."""

    name: str
    reason: str = ""

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.reason})" if self.reason and self.reason != "None" else self.name
        )


def own_environment() -> dict[str, str]:
    """Drop SLURM_, SBATCH_ and SQUEUE_ variables so that they cannot change our queries, and so
    that a controller that is itself a job does not pass on its allocation.

    Returns:
        Account, partition and QOS that the user has set for sbatch: defaults.
    """
    defaults = {
        option: os.environ[name]
        for option in ("account", "partition", "qos")
        if os.environ.get(name := f"SBATCH_{option.upper()}")
    }
    for name in list(os.environ):
        if name.startswith(_DROPPED) and name not in ("SLURM_CONF", "SLURM_JWT"):
            del os.environ[name]
    return defaults


def ask(*command: str) -> str:
    """A command's output.

    Raises:
        QueryFailed: it is not there, failed, or did not answer within a minute.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QueryFailed(f"{command[0]}: {error}") from None
    if done.returncode:
        raise QueryFailed(
            f"{command[0]}: {' '.join(done.stderr.split()) or f'status {done.returncode}'}"
        )
    return done.stdout


def site() -> Site:
    """The site's limits, from `scontrol show config`."""
    said = dict(re.findall(r"^(\w+)\s*= ?(.*?)\s*$", ask("scontrol", "show", "config"), re.M))
    tasks = re.search(r"max_array_tasks=(\d+)", said.get("SchedulerParameters", ""))
    largest = min(int(said.get("MaxArraySize", 1001)), int(tasks[1]) if tasks else 10**9)
    kind = said.get("AccountingStorageType", "")
    accounting = bool(kind) and "none" not in kind and "null" not in kind
    version = re.match(r"(\d+)\.(\d+)", said.get("SLURM_VERSION", ""))
    brief = version is not None and (int(version[1]), int(version[2])) >= (24, 5)
    partitions = limits(ask("scontrol", "show", "partition", "-o"))
    return Site(max(1, largest), accounting, brief, partitions)


def limits(said: str) -> dict[str, int]:
    """Minutes that a job may ask for, from `scontrol show partition`: see `Site.limits`.

    Example:
        >>> limits("PartitionName=gpu Default=YES MaxTime=1-12:30:00 State=UP")
        {'gpu': 2190, '': 2190}
    """
    out: dict[str, int] = {}
    for line in said.splitlines():
        words = dict(re.findall(r"(\w+)=(\S+)", line))
        time = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):\d+", words.get("MaxTime", ""))
        if time and "PartitionName" in words:
            minutes = (int(time[1] or 0) * 24 + int(time[2])) * 60 + int(time[3])
            names = [words["PartitionName"], *([""] if words.get("Default") == "YES" else [])]
            out |= dict.fromkeys(names, minutes)
    return out


def states(ids: Iterable[str], accounting: bool, brief: bool = False) -> dict[str, State]:
    """States of jobs: one call of squeue, which asks the controller; of the accounting database
    only what that has forgotten.

    Args:
        ids: such as `12` or `12_3`.
        accounting: the site has a database.
        brief: ask for states alone, without reasons.

    Returns:
        By id. Missing are ids of which nothing is known now; a job that Slurm has no memory of is
        UNKNOWN.

    Raises:
        QueryFailed: the controller did not answer.
    """
    wanted = set(ids)
    if not wanted:
        return {}
    out: dict[str, State] = {}
    how = ["--only-job-state", "--format=%i|%T"] if brief else ["--array", "--format=%i|%T|%r"]
    for listed in _lists(wanted):
        try:
            said = ask("squeue", "--noheader", "--states=all", f"--jobs={listed}", *how)
            out |= _read(said, wanted)
        except QueryFailed as error:
            if "Invalid job id" not in str(error):  # all are forgotten
                raise
    if forgotten := wanted - set(out):
        out |= _accounted(forgotten) if accounting else dict.fromkeys(forgotten, State("UNKNOWN"))
    return out


def _accounted(ids: set[str]) -> dict[str, State]:
    """What the database says; nothing at all if it does not answer."""
    what = ["--allocations", "--noheader", "--parsable2", "--format=JobID,State,Reason"]
    try:
        said = "".join(ask("sacct", *what, f"--jobs={listed}") for listed in _lists(ids))
    except QueryFailed:
        return {}
    found = _read(said, ids)
    # One row stands for all pending tasks of an array.
    waiting = {line.partition("_[")[0] for line in said.splitlines() if "_[" in line}
    found |= {i: State("PENDING") for i in ids - set(found) if i.partition("_")[0] in waiting}
    return dict.fromkeys(ids, State("UNKNOWN")) | found


def _lists(ids: set[str]) -> list[str]:
    """The jobs and arrays of some ids, for `--jobs`."""
    mains = sorted({i.partition("_")[0] for i in ids})
    return [",".join(mains[n : n + _AT_ONCE]) for n in range(0, len(mains), _AT_ONCE)]


def _read(said: str, wanted: set[str]) -> dict[str, State]:
    """Rows of id, state, reason; one row may stand for several tasks of an array."""
    out: dict[str, State] = {}
    for line in said.splitlines():
        named, _, rest = line.strip().partition("|")
        name, _, reason = rest.partition("|")
        if name:
            state = State(name.split()[0], reason.strip())
            out |= {id: state for id in _tasks(named) if id in wanted}
    return out


def _tasks(named: str) -> list[str]:
    """The ids in one: those of `7_[1-3,6%2]` are `7_1`, `7_2`, `7_3` and `7_6`."""
    listed = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", named)
    if not listed:
        return [named]
    spans = [part.partition("-") for part in listed[2].split(",")]
    numbers = [n for low, _, high in spans for n in range(int(low), int(high or low) + 1)]
    return [f"{listed[1]}_{n}" for n in numbers]


def commented(token: str) -> list[str]:
    """Ids of the user's jobs with a comment."""
    said = ask("squeue", "--noheader", f"--user={os.getuid()}", "--states=all", "--format=%F|%k")
    return sorted(
        {
            line.partition("|")[0].strip()
            for line in said.splitlines()
            if line.rpartition("|")[2].strip() == token
        }
    )


def submitted(said: str, token: str) -> str:
    """Id of the job that sbatch has just made.

    Args:
        said: its output: an id, or `Submitted batch job 12`; a site's own text may stand around it.
        token: the job's comment, by which Slurm itself is asked.

    Raises:
        QueryFailed: neither says.
        RuntimeError: Slurm has no such job, and sbatch names none.
    """
    named = [m[1] for line in said.splitlines() if (m := _MADE.fullmatch(line))]
    try:
        ours = commented(token)
    except QueryFailed:
        if not named:
            raise
        ours = []
    if not named and not ours:
        raise RuntimeError(f"sbatch named no job: {' '.join(said.split()) or '(no output)'}")
    return ours[-1] if ours else named[-1]


def cancel(ids: list[str]) -> None:
    """Cancel jobs; what has ended already is no error."""
    for i in range(0, len(ids), 500):
        try:
            ask("scancel", "--quiet", *ids[i : i + 500])
        except QueryFailed as error:
            if "Invalid job id" not in str(error):
                raise


def refusal(said: str, alive: bool) -> str:
    """What a refused sbatch means.

    Args:
        said: its error output.
        alive: jobs of ours are in the queue, so that a limit may be theirs.

    Returns:
        `limit` (too many jobs for now: fewer, or later), `busy` (later) or `bad` (never).

    Example:
        >>> refusal("sbatch: error: AssocMaxSubmitJobLimit", False)
        'limit'
        >>> refusal("sbatch: error: invalid partition specified: x", True)
        'bad'
    """
    if _LIMIT.search(said):
        return "limit"
    if _BUSY.search(said):
        return "busy"
    # Older versions name no limit: it is sure to pass only if our own jobs fill it.
    if "job submit limit" in said and alive:
        return "limit"
    return "bad"


def words(said: str) -> str:
    """Slurm's own words, without the program's name before each line.

    Example:
        >>> words("sbatch: error: invalid partition: x\\nsbatch: error: submission failed")
        'invalid partition: x. submission failed'
    """
    lines = [re.sub(r"^(\w+: )?(error: )?", "", line).strip() for line in said.strip().splitlines()]
    return ". ".join(line for line in lines if line)
