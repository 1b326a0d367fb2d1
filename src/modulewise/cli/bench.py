"""`modulewise bench`: time and memory of a sweep's configurations, measured side by side."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from modulewise.cli._options import Data, Device, Sweep, Threads
from modulewise.config.plan import load_plan
from modulewise.errors import InvalidInput
from modulewise.files import write_atomic
from modulewise.runs.checkout import git_commit
from modulewise.units import memory_bytes

log = logging.getLogger(__name__)
FORMAT = 1
"""Of the file of figures; another one when a figure changes its meaning or its name."""


def bench(
    sweep: Sweep = Path("config/bench.yaml"),
    root: Annotated[
        Path, typer.Option(help="folder that the sweep's relative paths start from")
    ] = Path(),
    out: Annotated[
        Path | None, typer.Option(help="folder to write; results/bench/NAME if not given")
    ] = None,
    data: Data = Path("data"),
    rounds: Annotated[
        int, typer.Option(min=0, help="timed steps of every arm; 0 measures memory alone")
    ] = 8,
    batch: Annotated[
        int | None, typer.Option(min=2, help="batch size in place of the sweep's")
    ] = None,
    arm: Annotated[list[str] | None, typer.Option(help="measure this arm alone; several")] = None,
    memory_cap: Annotated[
        list[str] | None,
        typer.Option(help="find the largest batch in so much, 8GiB; several; none: do not look"),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Measure time and memory of configurations side by side.

    The sweep's configurations take turns in one process, on images of noise. What is measured, and
    against what, is in docs/bench.md; tables and pictures go to results/bench.

    Examples:
        modulewise bench --arm backprop --arm dgl --rounds 2 --memory-cap 4GiB
        modulewise bench --sweep config/bench-resnet110.yaml --threads 1
    """
    try:
        wanted = memory_cap or ["8GiB"]
        caps = [] if wanted == ["none"] else [memory_bytes(cap) for cap in wanted]
    except ValueError as error:
        raise InvalidInput(f"--memory-cap: {error}") from None
    from modulewise.planning.arms import groups

    plan = load_plan(sweep, root)
    compared = groups(plan, batch, arm or ())
    from modulewise.engine import device as devices
    from modulewise.planning import bench as measuring
    from modulewise.report import bench as shown
    from modulewise.report import ratios

    folder = out or Path("results/bench") / plan.sweep.sweep
    folder.mkdir(parents=True, exist_ok=True)
    on = devices.begin(device, threads)
    found: dict[str, Any] = {
        "format": FORMAT,
        "sweep": plan.sweep.sweep,
        "title": plan.sweep.title,
        "device": devices.describe(on),
        "versions": devices.versions(),
        "commit": git_commit(),
        "rounds": rounds,
        "memory_caps": caps,
    }
    found |= measuring.measure(compared, data, on, rounds, caps)
    for group in found["groups"]:
        ratios.compare(group)
    write_atomic(folder / "bench.json", json.dumps(found, indent=1) + "\n")
    shown.write(found, folder)
    console = Console(markup=False, highlight=False, emoji=False)
    for group in found["groups"]:
        console.print(shown.terminal(group, caps))
        for sentence in shown.sentences(group):
            print(sentence)
    log.info(f"bench.json, table.md, table.csv and pictures are in {folder}")
