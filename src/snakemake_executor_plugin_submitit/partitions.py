"""Which partition a job goes to, by a file of partitions and their limits in the form of the
official Slurm plugin."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .resources import RUNTIME, Refused, cpus, gpus, memory_mb

LIMITS = {
    "max_runtime": "minutes, or text such as 2d12h or 1-12:30:00",
    "max_mem_mb": "memory of a node",
    "max_mem_mb_per_cpu": "memory of a CPU",
    "max_cpus_per_task": "CPUs",
    "max_threads": "CPUs of a node",
    "max_nodes": "number of nodes",
    "max_tasks": "number of processes",
    "max_tasks_per_node": "the same on a node",
    "max_gpu": "number of GPUs; 0 if not given",
    "max_cpus_per_gpu": "CPUs of each GPU",
}
"""Limits that are numbers; those not given do not bind."""

LISTS = ("available_gpu_models", "available_constraints")
"""Limits that are lists of names."""

IGNORED = ("supports_mpi", "max_mpi_tasks")
"""Keys of the official plugin that mean nothing here: jobs are one process to Slurm."""

_UNITS = {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}


@dataclass(frozen=True)
class Partition:
    """A partition and what a job there may ask for."""

    name: str
    limits: Mapping[str, float]
    models: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()

    def misfit(self, asked: Mapping[str, float], words: Mapping[str, Any]) -> str:
        """Why a job does not fit; empty if it does.

        Args:
            asked: what it asks for, by limit.
            words: its resources.
        """
        for key, value in asked.items():
            if value > self._limit(key):
                return f"{key} {_plain(self._limit(key))}, asked for {_plain(value)}"
        model, feature = words.get("gpu_model"), words.get("constraint")
        if model and self.models and str(model) not in self.models:
            return f"available_gpu_models {', '.join(sorted(self.models))}"
        wanted = set(re.findall(r"[\w.-]+", str(feature or "")))
        if wanted and self.features and not wanted <= self.features:
            return f"available_constraints {', '.join(sorted(self.features))}"
        return ""

    def fit(self, asked: Mapping[str, float]) -> float:
        """Sum of the shares of the limits that a job uses; a GPU that it does not want costs 1."""
        shares = [value / self._limit(key) for key, value in asked.items() if value]
        return sum(shares) - (1 if self._limit("max_gpu") and not asked["max_gpu"] else 0)

    def _limit(self, key: str) -> float:
        return self.limits.get(key, 0 if key == "max_gpu" else math.inf)


def read(path: Path) -> list[Partition]:
    """The partitions of a file.

    Raises:
        ValueError: one line: what is wrong, where, and what is valid.
    """
    try:
        said = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    table = said.get("partitions") if isinstance(said, dict) else None
    if not isinstance(table, dict) or not table:
        raise ValueError(f"{path}: `partitions`, with a name and its limits each, is needed")
    return [_partition(path, str(name), limits or {}) for name, limits in table.items()]


def _partition(path: Path, name: str, said: Any) -> Partition:
    valid = [*LIMITS, *LISTS, *IGNORED]
    where = f"{path}: partition {name}"
    if not isinstance(said, dict):
        raise ValueError(f"{where}: limits are needed; valid: {', '.join(valid)}")
    if "cluster" in said or "clusters" in said or "slurm_cluster" in said:
        raise ValueError(f"{where}: jobs cannot go to another cluster; leave this partition out")
    if unknown := set(said) - set(valid):
        raise ValueError(f"{where}: {min(unknown)!r} is unknown; valid: {', '.join(valid)}")
    limits = {}
    for key in LIMITS:
        if key in said:
            value = minutes(said[key]) if key == "max_runtime" else _number(said[key])
            if value is None:
                raise ValueError(f"{where}: {key}={said[key]!r}: {LIMITS[key]} are needed")
            limits[key] = value
    for key in LISTS:
        if not isinstance(said.get(key) or [], list):
            raise ValueError(f"{where}: {key}={said[key]!r}: a list of names is needed")
    names = [frozenset(str(n) for n in said.get(key) or []) for key in LISTS]
    return Partition(name, limits, *names)


def _number(said: Any) -> float | None:
    if isinstance(said, bool) or not isinstance(said, int | float) or not said >= 0:
        return None
    return float(said)


def minutes(said: Any) -> float | None:
    """A time in minutes; `None` if it is none.

    Example:
        >>> [minutes(t) for t in (90, "90", "2d12h", "1:30:00", "60:30", "2-12", "1-12:30:00", "x")]
        [90.0, 90.0, 3600.0, 90.0, 3630.0, 3600.0, 2190.0, None]
    """
    if not isinstance(said, str):
        return _number(said)
    text = said.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if re.fullmatch(r"(\d+(\.\d+)?[dhms])+", text):
        parts = re.findall(r"([\d.]+)([dhms])", text)
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    slurm = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not slurm:
        return None
    days, hours, mins, seconds = (int(part or 0) for part in slurm.groups())
    return days * 1440.0 + hours * 60 + mins + seconds / 60


def asked_for(
    words: Mapping[str, Any], threads: int, packed: int = 1, overhead_mb: int = 0
) -> dict[str, float]:
    """What an allocation of jobs asks for, by the limit that it must keep.

    Args:
        words: resources of one of them, checked.
        threads: of their rule.
        packed: how many share it.
        overhead_mb: memory of the processes around each command.
    """
    n = float(cpus(words, threads, packed))
    asked = {
        "max_mem_mb": float(memory_mb(words, packed, overhead_mb)),
        "max_cpus_per_task": n,
        "max_threads": n,
        "max_nodes": float(words.get("nodes") or 1),
        "max_tasks": 1.0,
        "max_tasks_per_node": 1.0,
        "max_gpu": float(gpus(words)),
        "max_cpus_per_gpu": float(words.get("cpus_per_gpu") or 0),
    }
    per_cpu = str(words.get("mem_per_cpu") or words.get("mem_mb_per_cpu") or 0)
    if per_cpu.isdigit():
        asked["max_mem_mb_per_cpu"] = float(per_cpu)
    # What can go on after a time limit asks for what the partition allows.
    if not words.get("resumable"):
        asked["max_runtime"] = float(words.get("runtime") or RUNTIME)
    return asked


def choose(
    words: Mapping[str, Any], asked: Mapping[str, float], partitions: list[Partition]
) -> str:
    """The partition whose limits a job fills best, the first of equals.

    Args:
        words: its resources, checked, which name no partition.
        asked: what it asks for.
        partitions: to choose from.

    Raises:
        Refused: it fits none; one line, with the reason of each.
    """
    fitting = [p for p in partitions if not p.misfit(asked, words)]
    if not fitting:
        reasons = "; ".join(f"{p.name}: {p.misfit(asked, words)}" for p in partitions)
        raise Refused(f"no partition fits the job; {reasons}")
    return max(fitting, key=lambda p: p.fit(asked)).name


def _plain(number: float) -> str:
    return f"{number:g}"
