"""What a run uses of its machine while it trains, and what it asked for.

CPU time and memory are read at the end of every epoch; a thread looks at memory and at a GPU every
`EVERY` seconds. Nothing of it changes the training.

An epoch's figures have the names of MLflow's own system metrics (`system/...`), which shows them
under these names. They are of the run, its process and those that it began: CPU time as a share of
the CPUs it asked for; resident memory. Those of a GPU are the driver's, of all that runs on it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

import torch

from modulewise.engine import device
from modulewise.engine.distributed import world
from modulewise.engine.nvml import Gpu, Look
from modulewise.engine.processes import cpu_seconds, resident
from modulewise.runs.result import Asked, Use

EVERY = 10.0
"""Seconds between two looks at memory and a GPU."""
Sums = dict[str, float]
"""What a run has used so far: seconds of `wall` and `cpu`, sums over looks at a GPU with their
numbers, and `peak...`, which are largest values."""


class Usage:
    """Watches this process and those that it begins, inside `with`.

    Args:
        places: devices of its processes, its own first.
    """

    def __init__(self, places: Sequence[torch.device]) -> None:
        self.asked, on = asked(places), places[0]
        self._most = 0
        cuda = on.type == "cuda"
        self._gpu = Gpu(str(torch.cuda.get_device_properties(on).uuid)) if cuda else None
        self._seen: list[Look] = []
        self._before: Sums | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Usage:
        self._last = time.perf_counter(), cpu_seconds()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            self._most = max(self._most, resident()[1])
            if self._gpu and self._gpu.known:
                self._seen.append(self._gpu.look())

    def add(self, used: Sums) -> None:
        """Add what was used since the last call to what the run has used so far."""
        if self._before is None:
            self._before = dict(used)
        now = time.perf_counter(), cpu_seconds()
        _add(used, "wall", now[0] - self._last[0])
        _add(used, "cpu", now[1] - self._last[1])
        self._last = now
        used["peak"] = max(used.get("peak", 0.0), self._most, resident()[1])
        seen, self._seen = self._seen, []
        for look in seen:
            for name in ("percent", "used", "watts"):
                if (value := getattr(look, name)) is not None:
                    _add(used, f"gpu_{name}", value)
                    _add(used, f"gpu_{name}_n", 1)
            used["gpu_peak"] = max(used.get("gpu_peak", 0.0), look.used or 0)

    def epoch(self, used: Sums) -> dict[str, float]:
        """What was used since the last epoch's end, or since this process began; by MLflow's names.

        Args:
            used: by the run so far; what was used since the last `add` is added.
        """
        look = self._gpu.look() if self._gpu and self._gpu.known else None
        if look:
            self._seen.append(look)
        self.add(used)
        before, self._before = self._before or {}, dict(used)
        new = {name: value - before.get(name, 0.0) for name, value in used.items()}
        memory = resident()[0]
        out = {"system_memory_usage_megabytes": memory / 1e6}
        if new["wall"]:
            share = new["cpu"] / (new["wall"] * self.asked.cpus)
            out["cpu_utilization_percentage"] = 100 * share
        if self.asked.memory_bytes:
            out["system_memory_usage_percentage"] = 100 * memory / self.asked.memory_bytes
        if look:
            out |= _gpu(new, look)
        return {f"system/{name}": round(value, 1) for name, value in out.items()}

    def whole(self, used: Sums) -> Use:
        """What the run has used, up to now, beside what it asked for."""
        self.add(used)
        peak = used.get("gpu_peak")
        return Use(
            asked=self.asked,
            seconds=used["wall"],
            cpu_seconds=used["cpu"],
            peak_bytes=int(used["peak"]),
            gpu_percent=_mean(used, "percent"),
            gpu_peak_bytes=int(peak) if peak else None,
            gpu_watts=_mean(used, "watts"),
        )


def _add(used: Sums, name: str, value: float) -> None:
    used[name] = used.get(name, 0.0) + value


def _mean(used: Sums, name: str) -> float | None:
    """Mean of what the looks at a GPU told; `None` if they did not."""
    n = used.get(f"gpu_{name}_n")
    return used[f"gpu_{name}"] / n if n else None


def _gpu(new: Sums, look: Look) -> dict[str, float]:
    """Means of an epoch's looks at a GPU, by MLflow's names."""
    busy, memory, watts = (_mean(new, name) for name in ("percent", "used", "watts"))
    out = {
        "utilization_percentage": busy,
        "memory_usage_megabytes": memory and memory / 1e6,
        "memory_usage_percentage": memory and look.total and 100 * memory / look.total,
        "power_usage_watts": watts,
        "power_usage_percentage": watts and look.most_watts and 100 * watts / look.most_watts,
    }
    return {f"gpu_0_{name}": value for name, value in out.items() if value is not None}


def asked(places: Sequence[torch.device], env: Mapping[str, str] = os.environ) -> Asked:
    """What was asked for this run, or for one rank of it: its share of the Slurm job; elsewhere its
    threads and devices.

    Args:
        places: devices of its processes, its own first.
        env: environment of the process.
    """
    here = device.visible(places[0]) if places[0].type == "cuda" else 0
    threads = len(places) * torch.get_num_threads()
    if "SLURM_JOB_ID" not in env:
        return Asked(cpus=threads, gpus=here / world())

    def number(name: str) -> float:
        given = env.get(f"SLURM_{name}", "")
        return float(given) if given.isdigit() else 0.0

    runs = device.pack() * world()
    cpus = number("CPUS_PER_TASK") or number("CPUS_ON_NODE")
    memory = number("MEM_PER_NODE") or number("MEM_PER_CPU") * cpus
    begun, ends = number("JOB_START_TIME"), number("JOB_END_TIME")
    return Asked(
        cpus=cpus / runs or threads,
        memory_bytes=int(memory * 2**20 / runs) or None,
        gpus=(number("GPUS_ON_NODE") or here) / runs,
        seconds=ends - begun if begun and ends else None,
    )
