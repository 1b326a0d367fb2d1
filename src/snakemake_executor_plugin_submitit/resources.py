"""A job's resources, in the words of the official Slurm plugin, as submitit's parameters."""

import difflib
import shlex
from collections.abc import Mapping
from typing import Any

RUNTIME = 60
"""Minutes of a job that asks for none."""

WORDS = {
    "runtime": f"minutes, or text such as 2h; {RUNTIME} if not given",
    "mem_mb": "memory of a node",
    "mem_mb_per_cpu": "memory of a CPU",
    "mem_per_cpu": "the same, in MB or with a unit",
    "cpus_per_task": "CPUs; the rule's threads if not given",
    "cpus_per_gpu": "CPUs of each GPU, in place of cpus_per_task",
    "tasks": "1",
    "tasks_per_gpu": "1",
    "nodes": "number of nodes; the command runs on the first",
    "gpu": "number of GPUs a node",
    "gpu_model": "their type",
    "gpu_manufacturer": "their maker, for readers: Slurm has no word for it",
    "gres": "as sbatch takes it",
    "slurm_partition": "partition",
    "slurm_account": "account",
    "qos": "quality of service",
    "constraint": "node features",
    "exclude": "nodes to avoid",
    "reservation": "reservation",
    "slurm_extra": "further options of sbatch, --name=value",
    "slurm_requeue": "0: Slurm does not start the job again by itself; 1 if not given",
    "resumable": "1: at its time limit the job is requeued and goes on where it was",
    "devices": "so many processes, which the command starts: each has the CPUs, mem_mb and gpu",
    "pack": "so many jobs share one allocation, and its GPUs",
}
"""The valid words, and what they take."""

_SNAKEMAKE = {
    "_cores",
    "_nodes",
    "tmpdir",
    "mem",
    "mem_mib",
    "disk",
    "disk_mb",
    "disk_mib",
    "threads",
}
_BY_WORD = {
    "slurm_partition": "partition",
    "slurm_account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "exclude": "exclude",
    "reservation": "reservation",
    "runtime": "time",
    "mem_mb": "mem",
    "mem_per_cpu": "mem-per-cpu",
    "mem_mb_per_cpu": "mem-per-cpu",
    "cpus_per_task": "cpus-per-task",
    "cpus_per_gpu": "cpus-per-gpu",
    "tasks_per_gpu": "ntasks-per-gpu",
    "nodes": "nodes",
    "gpu": "gpus",
    "gres": "gres",
}
_NUMBERS = (
    "runtime",
    "mem_mb",
    "mem_mb_per_cpu",
    "cpus_per_task",
    "cpus_per_gpu",
    "nodes",
    "gpu",
    "devices",
    "pack",
)
_OURS = {
    "array",
    "comment",
    "error",
    "job-name",
    "open-mode",
    "output",
    "signal",
    "wrap",
}
_OURS |= {"chdir", "clusters", "help", "parsable", "quiet", "test-only", "version", "wait"}
"""Options of sbatch that the plugin sets by itself."""

_AS_WORD = {
    "time": "runtime",
    "nodes": "nodes",
    "ntasks": "tasks",
    "ntasks-per-node": "tasks",
    "cpus-per-task": "cpus_per_task",
    "cpus-per-gpu": "cpus_per_gpu",
    "ntasks-per-gpu": "tasks_per_gpu",
    "requeue": "slurm_requeue",
    "no-requeue": "slurm_requeue",
}
"""Options that concern the step or the controller as well: given to sbatch alone, they would start
the command twice, or misjudge its time limit."""

_SHORT = {
    "A": "account",
    "C": "constraint",
    "J": "job-name",
    "N": "nodes",
    "a": "array",
    "c": "cpus-per-task",
    "e": "error",
    "o": "output",
}
_SHORT |= {"p": "partition", "q": "qos", "t": "time", "x": "exclude"}
_SHORT |= {
    "D": "chdir",
    "G": "gpus",
    "H": "hold",
    "L": "licenses",
    "M": "clusters",
    "Q": "quiet",
    "W": "wait",
    "b": "begin",
}
_SHORT |= {"d": "dependency", "n": "ntasks", "w": "nodelist"}


class Refused(ValueError):
    """A job whose resources make no sense; the message says which, and the valid ones."""


def check(resources: Mapping[str, Any], known: frozenset[str] = frozenset()) -> None:
    """Refuse unknown and contradictory resources.

    Args:
        resources: of one job.
        known: further names, which the user has limited by `--resources NAME=N`.

    Raises:
        Refused: one line.
    """
    for word in resources:
        if word not in WORDS and word not in _SNAKEMAKE and word not in known:
            near = difflib.get_close_matches(word, WORDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Refused(
                f"resource {word!r} is unknown{hint} valid: {', '.join(WORDS)}".replace(
                    " valid", "; valid" if not near else " Valid"
                )
            )
    given = {w for w in WORDS if resources.get(w) not in (None, "", 0)}
    for one, other in (
        ("mem_mb", "mem_per_cpu"),
        ("mem_mb", "mem_mb_per_cpu"),
        ("mem_per_cpu", "mem_mb_per_cpu"),
        ("cpus_per_task", "cpus_per_gpu"),
    ):
        if {one, other} <= given:
            raise Refused(
                f"resources {one} and {other} contradict one another: give one of them, and put "
                f"off a default by {one}=0"
            )
    if "gpu" in given and "gpu" in str(resources.get("gres", "")):
        raise Refused("resources gpu and gres both ask for GPUs: give one of them")
    if "gpu_model" in given and "gpu" not in given:
        raise Refused("resource gpu_model needs gpu, the number of GPUs")
    if "cpus_per_gpu" in given and not gpus(resources):
        raise Refused("resource cpus_per_gpu needs gpu, the number of GPUs")
    for word in _NUMBERS:
        value = resources.get(word)
        if value is not None and (
            isinstance(value, bool)
            or not str(value).isdigit()
            or (word not in ("gpu", "mem_mb") and int(value) < 1)
        ):
            raise Refused(f"resource {word}={value!r}: a whole number is needed, {WORDS[word]}")
    for word in ("tasks", "tasks_per_gpu"):
        if str(resources.get(word) or 1) != "1":
            raise Refused(
                f"resource {word}={resources[word]}: valid is 1; several processes are started by "
                f"the command itself, such as torchrun"
            )
    _check_devices(resources, given)
    if str(resources.get("slurm_requeue", 1)) not in ("0", "1", "True", "False"):
        raise Refused(f"resource slurm_requeue={resources['slurm_requeue']!r}: valid are 0 and 1")
    for option in extra(resources):
        if len(option) == 1:
            raise Refused(f"slurm_extra: -{option}: write the option's long name")
        if option in _OURS:
            raise Refused(f"slurm_extra: --{option} is set by the plugin and cannot be given")
        for word in given & _BY_WORD.keys():
            if _BY_WORD[word] == option:
                raise Refused(
                    f"slurm_extra: --{option} contradicts the resource {word}: give one of them"
                )
        if option in _AS_WORD:
            raise Refused(
                f"slurm_extra: --{option} is to be given as the resource {_AS_WORD[option]}"
            )
        if option.startswith(("gres", "gpus")) and "gpu" in given | set(
            str(resources.get("gres", "")).split(":")[:1]
        ):
            raise Refused(
                f"slurm_extra: --{option} contradicts the resource "
                f"{'gpu' if 'gpu' in given else 'gres'}: give one of them"
            )


def _check_devices(resources: Mapping[str, Any], given: set[str]) -> None:
    """Refuse what several processes of one command cannot be given."""
    if devices(resources) == 1:
        return
    for word in ("nodes", "pack"):
        if str(resources.get(word) or 1) != "1":
            raise Refused(
                f"resource {word}={resources[word]}: valid is 1 for a job with devices="
                f"{resources['devices']}, whose processes run on one node"
            )
    if gpus(resources) and "gpu" not in given:
        raise Refused("resource gres: give GPUs as gpu, the number of each process, to devices")


def devices(resources: Mapping[str, Any]) -> int:
    """Number of processes that the command starts."""
    return int(resources.get("devices") or 1)


def gpus(resources: Mapping[str, Any]) -> int:
    """Number of GPUs on a node, from `gpu` or `gres`.

    Example:
        >>> gpus({"gpu": 2}), gpus({"gres": "lustre:1,gpu:a100:4"}), gpus({"gres": "gpu"}), gpus({})
        (2, 4, 1, 0)
    """
    if resources.get("gpu"):
        return int(resources["gpu"]) * devices(resources)
    for asked in str(resources.get("gres") or "").split(","):
        name, *rest = asked.strip().split(":")
        if name == "gpu":
            return int(rest[-1]) if rest and rest[-1].isdigit() else 1
    return 0


def cpus(resources: Mapping[str, Any], threads: int, packed: int = 1) -> int:
    """Number of CPUs of jobs that share an allocation: what each says, or its rule's threads, for
    each of its processes; CPUs that come with the GPUs are shared as these are."""
    if resources.get("cpus_per_gpu"):
        return int(resources["cpus_per_gpu"]) * gpus(resources)
    return int(resources.get("cpus_per_task") or threads or 1) * devices(resources) * packed


def memory_mb(resources: Mapping[str, Any], packed: int, overhead_mb: int) -> int:
    """Memory of jobs that share an allocation, in MB; 0 if they do not say.

    Args:
        resources: of one of them.
        packed: how many there are.
        overhead_mb: of the processes around each command.
    """
    asked = int(resources.get("mem_mb") or 0) * devices(resources)
    return (asked + overhead_mb) * packed if asked else 0


def extra(resources: Mapping[str, Any]) -> dict[str, str | bool]:
    """The options in `slurm_extra`: `--name=value`, `--name value`, `--switch` or `-p value`.

    Example:
        >>> extra({"slurm_extra": "--nice=100 --exclusive -p long"})
        {'nice': '100', 'exclusive': True, 'partition': 'long'}
    """
    out: dict[str, str | bool] = {}
    last = None
    try:
        words = shlex.split(str(resources.get("slurm_extra") or ""))
    except ValueError as error:
        raise Refused(f"slurm_extra: {error}") from None
    for word in words:
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            last = name if word.startswith("--") else _SHORT.get(name, name)
            out[last] = value if equals else True
        elif last is None or out[last] is not True:
            raise Refused(f"slurm_extra: {word!r} belongs to no option")
        else:
            out[last] = word
    return out


def parameters(
    resources: Mapping[str, Any], threads: int, overhead_mb: int, packed: int, delay_s: int
) -> dict[str, Any]:
    """Parameters of submitit's Slurm executor, without its own prefix.

    Args:
        resources: of one job, checked.
        threads: of its rule.
        overhead_mb: memory of the processes around the command.
        packed: number of jobs in the allocation; CPUs and memory are multiplied, GPUs are shared.
        delay_s: seconds between the warning and the time limit.
    """
    r = resources
    minutes = int(r.get("runtime") or RUNTIME)
    n_cpus = cpus(r, threads, packed)
    p: dict[str, Any] = {
        "time": minutes,
        "nodes": int(r.get("nodes") or 1),
        "ntasks_per_node": 1,
        "cpus_per_task": n_cpus,
    }
    if memory := memory_mb(r, packed, overhead_mb):
        p["mem"] = f"{memory}MB"
    elif per_cpu := r.get("mem_per_cpu") or r.get("mem_mb_per_cpu"):
        p["mem_per_cpu"] = f"{per_cpu}MB" if str(per_cpu).isdigit() else str(per_cpu)
    if r.get("gres"):
        p["gres"] = str(r["gres"])
    elif r.get("gpu"):
        p["gres"] = ":".join(
            ["gpu", *([str(r["gpu_model"])] if r.get("gpu_model") else []), str(gpus(r))]
        )
    for word in ("slurm_partition", "slurm_account", "qos", "constraint", "exclude"):
        if r.get(word):
            p[_BY_WORD[word]] = str(r[word])
    options = extra(r)
    if r.get("reservation"):
        options["reservation"] = str(r["reservation"])
    # Slurm warns up to a minute early, so of a short limit at most a quarter is left for the
    # warning.
    p["signal_delay_s"] = max(10, min(delay_s, minutes * 15))
    # A step does not inherit --cpus-per-task since Slurm 22.05; of several nodes only the first
    # runs the command.
    p["srun_args"] = [f"--cpus-per-task={n_cpus}"] + (
        ["--nodes=1", "--ntasks=1"] if p["nodes"] > 1 else []
    )
    may_requeue = str(r.get("slurm_requeue", 1)) in ("1", "True")
    p["additional_parameters"] = options | {"requeue" if may_requeue else "no-requeue": True}
    return p
