"""`modulewise status`: states of the runs of a sweep."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from modulewise.cli._options import Runs, Sweep
from modulewise.config.plan import load_plan
from modulewise.runs.state import run_states
from modulewise.status.jobs import jobs as jobs_table
from modulewise.status.tables import screen


def status(
    sweep: Sweep = Path("config/sweep.yaml"),
    root: Annotated[
        Path, typer.Option(help="folder that the sweep's relative paths start from")
    ] = Path(),
    runs: Runs = Path("results/runs"),
    watch: Annotated[bool, typer.Option("--watch", help="repeat until Ctrl-C")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="seconds between two looks")] = 5.0,
    ledger: Annotated[
        Path | None,
        typer.Option(help="the executor's ledger of jobs; logs/slurm/jobs.jsonl beside RUNS"),
    ] = None,
    jobs: Annotated[
        bool,
        typer.Option(
            "--jobs",
            help="list jobs: Slurm's number, starts, waiting and running time, GPU-hours",
        ),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="list every cell that runs or needs a look, in full")
    ] = False,
) -> None:
    """Show where a sweep's runs stand, on one screen.

    Progress and time left of those that run, why others failed or stopped, and what runs use of
    what was asked for.

    Examples:
        modulewise status
        modulewise status --sweep config/demo.yaml --watch
        modulewise status --jobs
    """
    plan = load_plan(sweep, root)

    def look(width: int) -> list[str]:
        states = run_states(plan.cells, runs, ledger, keep="none")
        found = list(zip(plan.cells, states, strict=True))
        return (
            jobs_table(found, width)
            if jobs
            else screen(plan.sweep.sweep, found, width, None if everything else 4)
        )

    if not watch:
        print(
            "\n".join(
                look(max(80, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 80)
            )
        )
        return
    try:
        _watch(look, every)
    except KeyboardInterrupt:
        print()


def _watch(look: Callable[[int], list[str]], every: float) -> None:
    """Redraw the screen on a terminal; elsewhere print its first line whenever that changes."""
    if not sys.stdout.isatty():
        last = ""
        while True:
            if (now := look(80)[0]) != last:
                last = now
                print(time.strftime("%Y-%m-%d %H:%M:%S "), now, flush=True)
            time.sleep(every)
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            live.update(Text("\n".join(look(max(60, console.width)))), refresh=True)
            time.sleep(every)
