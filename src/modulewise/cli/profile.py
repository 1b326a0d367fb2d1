"""`modulewise profile`: measure on the device what a sweep's runs will take."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from modulewise.cli._options import Data, Device, Runs, Sweep, Threads
from modulewise.config.cell import configurations
from modulewise.config.plan import load_plan
from modulewise.runs import result
from modulewise.units import memory, time

log = logging.getLogger(__name__)


def profile(
    sweep: Sweep = Path("config/sweep.yaml"),
    root: Annotated[
        Path, typer.Option(help="folder that the sweep's relative paths start from")
    ] = Path(),
    out: Annotated[
        Path | None, typer.Option(help="file to write; results/profile/NAME.json if not given")
    ] = None,
    data: Data = Path("data"),
    runs: Runs = Path("results/runs"),
    device: Device = "auto",
    threads: Threads = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="measure everything so many times; the medians count")
    ] = 1,
) -> None:
    """Time a few steps of every configuration of a sweep.

    On images of noise, on the device at hand; says what the runs still to do will take.

    Examples:
        modulewise profile --sweep config/demo.yaml --threads 1
    """
    plan = load_plan(sweep, root)
    distinct = configurations(plan.cells)
    out = out or Path("results/profile") / f"{plan.sweep.sweep}.json"
    from modulewise.engine import device as device_module
    from modulewise.planning import profile as profile_module
    from modulewise.planning import timings
    from modulewise.runs.provenance import source_hash

    on = device_module.begin(device, threads)
    found = {
        "device": device_module.describe(on),
        "versions": device_module.versions(),
    }
    known = timings.measured(out.parent, found)
    full = {name: f for name, f in known.items() if f.get("rounds", 1) >= rounds}
    passes = [dict(full) for _ in range(rounds)]
    for turn, taken in enumerate(passes, 1):
        for n, (name, cell) in enumerate(distinct.items(), 1):
            same = {"steps": cell.steps, "source": source_hash(cell)}
            if taken.get(name, {}).get("source") == same["source"]:
                continue
            alike = (f for f in taken.values() if same.items() <= f.items() and "seconds" in f)
            taken[name] = same | profile_module.figures(cell, data, on, list(alike)[:1])
            every = [p[name] for p in passes[:turn]]
            middle = profile_module.figures(cell, data, on, every) if turn > 1 else taken[name]
            known[name] = same | middle | {"rounds": turn}
            of = f" of round {turn}" if rounds > 1 else ""
            what = str(cell).rpartition(" ")[0]
            log.info(f"{n}/{len(distinct)}{of}  {what}  {_said(taken[name])}")
            timings.write(out.parent / timings.MEASURED, found | {"cells": known})
    timings.write(out, found | {"cells": {name: known[name] for name in distinct}})
    todo = [c for c in plan.cells if not result.exists(runs / c.path)]
    console = Console(markup=False, highlight=False, emoji=False)
    for table in timings.tables(todo, known):
        console.print(table)
    hours, unknown = timings.total_hours(todo, known)
    print(
        f"{len(todo)} runs to do: {time(3600 * hours)} of {found['device']}"
        + (f"; {unknown} run out of memory" if unknown else "")
    )
    if shared := sum(not known[name].get("exclusive", True) for name in distinct):
        print(
            f"{shared} of {len(distinct)} configurations were timed while others used the device: "
            f"budgets in seconds refuse them; the same command measures them again"
        )
    plan.sweep.limits.hold("gpu_hours", hours, plan.where, f"measured on {found['device']}")


def _said(found: dict[str, Any]) -> str:
    if "seconds" not in found:
        return "out of memory"
    peak = f"  {memory(found['peak_memory_bytes'])}" if found["peak_memory_bytes"] else ""
    shared = "" if found.get("exclusive", True) else "  others used the device"
    return f"{time(found['epoch_seconds'] + found['evaluation_seconds'])} an epoch{peak}{shared}"
