"""What runs used of their machines beside what was asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from modulewise.runs.result import Asked, Use
from modulewise.runs.state import RunState

Kind = Literal["cpus", "memory", "gpu", "power", "time"]
"""CPUs kept busy, bytes, percent of the time, watts, seconds."""
RATES: tuple[Kind, ...] = ("cpus", "gpu", "power")
"""Kinds whose mean over runs is weighted by their time."""


class Compared(NamedTuple):
    """One kind of use over several runs."""

    kind: Kind
    runs: int
    """Number of runs of which it is known."""
    mean: float
    most: float
    """Of any run."""
    asked: tuple[float, float] | None
    """The least and the most that was asked for a run; `None` if it was not for all of them."""
    share: float
    """The largest share of what was asked for that a run used; 0 if nothing was."""


def use_of(run: RunState) -> Use | None:
    """What a run used, or uses while it has no result, by its record; `None` where neither says."""
    if run.result:
        return run.result.cost.use
    said = run.history
    if not said.starts or not isinstance(said.starts[-1].get("asked"), dict):
        return None
    try:
        asked = Asked.model_validate(said.starts[-1]["asked"])
    except ValidationError:
        return None

    def values(name: str) -> list[float]:
        return [v for (metric, _), (v, _) in said.metrics.items() if metric == f"system/{name}"]

    cpu, memory = values("cpu_utilization_percentage"), values("system_memory_usage_megabytes")
    seconds = run.cost.ran
    if not cpu or not memory or not seconds:
        return None
    gpu = values("gpu_0_memory_usage_megabytes")
    return Use(
        asked=asked,
        seconds=seconds,
        cpu_seconds=seconds * asked.cpus * _mean(cpu) / 100,
        peak_bytes=int(max(memory) * 1e6),
        gpu_percent=_mean(values("gpu_0_utilization_percentage")),
        gpu_peak_bytes=int(max(gpu) * 1e6) if gpu else None,
        gpu_watts=_mean(values("gpu_0_power_usage_watts")),
    )


def _mean(values: Sequence[float]) -> Any:
    return sum(values) / len(values) if values else None


def compare(uses: Sequence[Use]) -> list[Compared]:
    """Use against request over several runs, of the kinds that are known of at least one.

    CPUs, the GPU's time and its power are means over time; memory and time are means over runs.
    """
    kinds: dict[Kind, list[tuple[Use, float | None, float | None]]] = {
        "cpus": [(u, u.cpu_seconds / u.seconds, u.asked.cpus) for u in uses if u.seconds],
        "memory": [(u, u.peak_bytes, u.asked.memory_bytes) for u in uses],
        "gpu": [(u, u.gpu_percent, 100.0) for u in uses],
        "power": [(u, u.gpu_watts, None) for u in uses],
        "time": [(u, u.seconds, u.asked.seconds) for u in uses],
    }
    out = []
    for kind, found in kinds.items():
        known = [(u, used, asked) for u, used, asked in found if used is not None]
        if known:
            weights = [u.seconds if kind in RATES else 1.0 for u, _, _ in known]
            used = [float(value) for _, value, _ in known]
            asked = [float(wanted) for _, _, wanted in known if wanted]
            out.append(
                Compared(
                    kind,
                    len(known),
                    sum(w * v for w, v in zip(weights, used, strict=True)) / sum(weights),
                    max(used),
                    (min(asked), max(asked)) if len(asked) == len(known) else None,
                    max((v / wanted for _, v, wanted in known if wanted), default=0.0),
                )
            )
    return out
